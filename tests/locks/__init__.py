"""The locks that each migration takes and how long requests wait for them: make locks."""
