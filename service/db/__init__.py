"""From the connection pool to a statement of sql/ and its errors; migrations."""
