-- name: forget_attempts :exec
-- Deletes what no limit looks at any more. Rows that somebody else is at, and too many at once, wait for another time.
-- across owners: attempts belong to nobody; the service runs this now and then, with nothing of a request in it
-- index: none
DELETE /* maintenance/forget_attempts */ FROM attempts
WHERE bucket IN (
    SELECT stale.bucket
    FROM attempts AS stale
    WHERE stale.ends_at <= now()
    ORDER BY stale.ends_at, stale.bucket
    LIMIT 10000
    FOR UPDATE SKIP LOCKED
)
