"""Shared by the handlers of both contracts: requests, responses, errors, headers, the access log."""
