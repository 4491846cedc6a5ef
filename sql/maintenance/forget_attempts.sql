-- name: forget_attempts :one
-- Deletes attempts that are too old for every limit, 10 000 at the most. Skips locked rows. The caller repeats it.
-- across owners: attempts have no owner; run now and then by the service, without any value of a request
-- -> deleted  bigint
-- index: none
WITH /* maintenance/forget_attempts */ gone AS (
    DELETE FROM attempts
    WHERE
        bucket IN (
            SELECT stale.bucket
            FROM attempts AS stale
            WHERE stale.ends_at <= now()
            ORDER BY stale.ends_at, stale.bucket
            LIMIT 10000
            FOR UPDATE SKIP LOCKED
        )
    RETURNING bucket
)

SELECT count(*) AS deleted FROM gone;
