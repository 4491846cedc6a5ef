"""What the handlers of both contracts share: requests, responses, errors, headers, the access log."""
