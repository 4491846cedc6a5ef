"""All settings, and the parsers of DATABASE_URL and AUTH_ISSUERS."""
