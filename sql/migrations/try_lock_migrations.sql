-- name: try_lock_migrations :one
-- Takes the advisory lock that lets one migration run at a time. It is released when its session ends.
-- Polled by the caller: a session that waited inside the statement would hold a snapshot, and a CREATE INDEX
-- CONCURRENTLY of the run with the lock would wait for that snapshot.
-- $1 lock_key  bigint
-- -> is_locked  boolean
-- index: none
SELECT /* migrations/try_lock_migrations */ pg_try_advisory_lock($1) AS is_locked;
