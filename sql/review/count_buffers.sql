-- name: count_buffers :one
-- The shared buffers of our tables and indexes that this transaction has touched, in the cache or read into it.
-- The server's own tables are left out: a session reads them once and then remembers.
-- -> touched  bigint
-- index: pg_class_oid_index
SELECT /* review/count_buffers */
    coalesce(sum(pg_stat_get_xact_blocks_fetched(oid)), 0)::bigint AS touched
FROM pg_class
WHERE oid >= 16384;
