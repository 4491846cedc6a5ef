-- name: list_broken_indexes :many
-- The indexes of these tables that no query uses and each write maintains: left behind by an interrupted CONCURRENTLY.
-- Without those that a session is making now.
-- $1 table_names    text[]
-- -> index_name     text
-- -> table_name     text
-- -> drop_command   text
-- index: pg_class_oid_index, pg_class_relname_nsp_index
SELECT /* doctor/list_broken_indexes */
    index_class.relname::text AS index_name,
    pg_class.relname::text AS table_name,
    format('DROP INDEX CONCURRENTLY %s', index_class.oid::regclass) AS drop_command
FROM pg_index
INNER JOIN pg_class ON pg_index.indrelid = pg_class.oid
INNER JOIN pg_class AS index_class ON pg_index.indexrelid = index_class.oid
WHERE
    NOT pg_index.indisvalid
    AND pg_class.relnamespace = current_schema()::regnamespace
    AND pg_class.relname = ANY($1::text[]::name[])
    AND NOT EXISTS (
        SELECT 1
        FROM pg_stat_progress_create_index
        WHERE pg_stat_progress_create_index.index_relid = pg_index.indexrelid
    )
ORDER BY index_name;
