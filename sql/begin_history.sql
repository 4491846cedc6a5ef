-- Run by an administrator with psql, before the service starts on a database whose numbers were taken back: after a
-- restore, and after 0014_version_tasks was rolled back and applied again. Cursors of changes from before are refused
-- then, and no ETag from before fits: numbers go on far above all that were ever given. Writes that come meanwhile wait
-- for its end.

BEGIN;

-- One row with a new id. Citus refuses a VOLATILE function in an UPDATE, and takes it as a default.
DELETE FROM histories;
INSERT INTO histories DEFAULT VALUES;

-- A user without a counter, too, may have been given numbers that the restore took back.
INSERT INTO task_counters (user_id, task_count, version)
SELECT
    users.id AS user_id,
    0 AS task_count,
    1000000000 AS version
FROM users
ON CONFLICT (user_id) DO UPDATE SET version = task_counters.version + excluded.version;

COMMIT;
