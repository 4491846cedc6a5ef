"""sql check: proves the statements of sql/ against a database. Not needed to serve."""
