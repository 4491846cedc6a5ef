"""Metrics: their table, their values in memory that all workers share, and their text for Prometheus."""
