-- Why:    Attempts to log in and to sign up are counted here, so that every worker and every copy knows of all of them.
--         What was tried, and from where, is a keyed digest: nobody who reads the table learns an address.
-- Phase:  before the code that needs it.
-- Locks:  none that anybody waits for; the table is new.
-- Undo:   0006_count_attempts.rollback.sql. Who is locked out may try again.
-- depends: 0005_email_unique_among_passwords

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

-- A row is small and short-lived. Its times are in one array, newest first, because they are only ever read together:
-- whether the n-th newest is recent decides, and one row lock decides between attempts at the same instant.
CREATE TABLE attempts (
    bucket       bytea         NOT NULL,
    attempted_at timestamptz[] NOT NULL,
    ends_at      timestamptz   NOT NULL,

    CONSTRAINT attempts_pkey PRIMARY KEY (bucket),
    CONSTRAINT attempts_bucket_is_digest CHECK (octet_length(bucket) = 32)
);
