"""The commands a person types, and what must be true before the first request."""
