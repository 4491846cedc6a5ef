-- name: try_lock_migrations :one
-- One migration run at a time, whatever started it. The lock goes with its session, so a killed run leaves none behind.
-- It is asked for again and again: a session that waited for it inside a statement would hold a snapshot, for which a
-- CREATE INDEX CONCURRENTLY of the run that has the lock would wait in turn.
-- $1 lock_key  bigint
-- -> is_locked  boolean
-- index: none
SELECT /* migrations/try_lock_migrations */ pg_try_advisory_lock($1) AS is_locked
