"""Passwords, and tokens: our own and those of other issuers."""
