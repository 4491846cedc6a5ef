"""PostgreSQL: connection pool, statements of sql/, errors, and migrations."""
