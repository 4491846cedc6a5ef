"""python -m service doctor: looks at settings, database, issuers and host, and changes nothing."""
