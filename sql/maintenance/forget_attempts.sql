-- name: forget_attempts :exec
-- Deletes attempts that are too old for every limit. Skips locked rows, and deletes a limited number at a time.
-- across owners: attempts have no owner; run now and then by the service, without any value of a request
-- index: none
DELETE /* maintenance/forget_attempts */ FROM attempts
WHERE bucket IN (
    SELECT stale.bucket
    FROM attempts AS stale
    WHERE stale.ends_at <= now()
    ORDER BY stale.ends_at, stale.bucket
    LIMIT 10000
    FOR UPDATE SKIP LOCKED
);
