-- Why:    A user of an outside issuer who is deleted would be made anew by the next request with a token from before. So who
--         it was stays for a day, which is longer than such tokens live. Nobody who logs in with a password is in here.
-- Phase:  before the code that needs it.
-- Locks:  none that anybody waits for; the table is new.
-- Undo:   0008_remember_deleted_users.rollback.sql. Tokens from before may bring back accounts of the last day, empty.
-- depends: 0007_revoke_tokens

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

CREATE TABLE deleted_outside_users (
    issuer     text        NOT NULL,
    subject    text        NOT NULL,
    deleted_at timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT deleted_outside_users_pkey PRIMARY KEY (issuer, subject)
);
