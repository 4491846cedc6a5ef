"""The command line, and the checks before the first request."""
