-- Run by an administrator with psql, before the service starts on a database whose numbers were taken back: after a
-- restore, and after 0014_version_tasks was rolled back and applied again. Cursors of changes from before are refused
-- then, and no ETag from before fits: numbers go on from the clock, in microseconds since 1970, which is far above all
-- that were ever given, also by another service that was restored from the same backup before. Writes that come
-- meanwhile wait for its end.

BEGIN;

-- One row with a new id. Citus refuses a VOLATILE function in an UPDATE, and takes it as a default.
DELETE FROM histories;
INSERT INTO histories DEFAULT VALUES;

-- A user without a counter, too, may have been given numbers that the restore took back. Counters are locked in the
-- order in which the service's batches lock them, or each could wait for the other. A clock that was set back takes no
-- number back.
INSERT INTO task_counters (user_id, task_count, version)
SELECT
    users.id AS user_id,
    0 AS task_count,
    (extract(EPOCH FROM histories.started_at) * 1000000)::bigint AS version
FROM users
CROSS JOIN histories
ORDER BY users.id
ON CONFLICT (user_id) DO UPDATE SET version = greatest(task_counters.version + 1000000000, excluded.version);

COMMIT;
