-- name: lock_migrations :exec
-- One migration run at a time, whatever started it. The lock goes with the session, so a killed run leaves nothing behind.
-- $1 lock_key  bigint
-- index: none
SELECT /* migrations/lock_migrations */ pg_advisory_lock($1)
