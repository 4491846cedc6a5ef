"""sql check: proves the statements of sql/ against a database. Serving does not need it."""
