-- Why:    A client that got no answer to a create repeats it with the same idempotency key, and gets the answer that was lost:
--         the answer is kept in the transaction of the write itself. An answer of a batch may have a megabyte, so the counter
--         adds up what is kept for a user in a window of IDEMPOTENCY_HOURS, and the service refuses keys beyond a limit.
-- Phase:  before the code that needs it. The old code does not notice.
-- Locks:  ACCESS EXCLUSIVE on task_counters for a moment. Nothing is rewritten and no row is read: constant defaults are kept
--         in the catalogue. SHARE ROW EXCLUSIVE on users for the moment in which the foreign key is made; idempotency_keys is
--         new.
-- Undo:   0015_keep_answers.rollback.sql. A create that is repeated after that makes a second task.
-- depends: 0014_version_tasks

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

CREATE TABLE idempotency_keys (
    user_id        uuid        NOT NULL,
    key            text        NOT NULL,
    request_digest bytea       NOT NULL,
    answer         text        NOT NULL,
    forget_at      timestamptz NOT NULL,

    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (user_id, key),
    CONSTRAINT idempotency_keys_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT idempotency_keys_key_length CHECK (length(key) BETWEEN 1 AND 255)
);

ALTER TABLE task_counters ADD COLUMN kept_bytes bigint NOT NULL DEFAULT 0;
ALTER TABLE task_counters ADD COLUMN kept_until timestamptz NOT NULL DEFAULT 'epoch';
