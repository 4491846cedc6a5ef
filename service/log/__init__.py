"""Lines of the log, written to standard output without ever waiting for its reader."""
