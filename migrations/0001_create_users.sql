-- Why:    Accounts. Everything else in the schema hangs on a user.
-- Phase:  before the code that needs it.
-- Locks:  none that anybody waits for; the table is new.
-- Undo:   0001_create_users.rollback.sql. It drops every account.

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

CREATE TABLE users (
    id            uuid        NOT NULL DEFAULT gen_random_uuid(),
    email         text        NOT NULL,
    password_hash text        NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_email_key UNIQUE (email),
    CONSTRAINT users_email_length CHECK (char_length(email) BETWEEN 3 AND 255),

    -- The service lowers an address before it comes here. Only A to Z are checked: what lower() makes of other
    -- letters depends on the server's locale and Unicode version, and two opinions would refuse a good address.
    CONSTRAINT users_email_lower_case CHECK (email = lower(email COLLATE "C"))
);
