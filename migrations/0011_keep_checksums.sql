-- Why:    A landed migration that was edited is noticed: the SHA-256 of each file is kept when it is applied. `sha256sum
--         migrations/*.sql` prints the same.
-- Phase:  before the code that needs it. The old code does not notice.
-- Locks:  none that a request waits for; the table is new.
-- Undo:   0011_keep_checksums.rollback.sql. The checksums are lost; those of the files as they are then are kept again.
-- depends: 0010_know_networks

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

CREATE TABLE migration_checksums (
    migration_id text        NOT NULL,
    sha256       text        NOT NULL,
    kept_at      timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT migration_checksums_pkey PRIMARY KEY (migration_id)
);
