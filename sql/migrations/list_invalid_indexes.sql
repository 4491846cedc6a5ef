-- name: list_invalid_indexes :many
-- The indexes with these names that a CONCURRENTLY has left behind half made or half dropped: no query uses one, each
-- write maintains it. With the command that drops it.
-- $1 index_names    text[]
-- -> index_name     text
-- -> drop_command   text
-- index: pg_class_relname_nsp_index
SELECT /* migrations/list_invalid_indexes */
    pg_class.relname::text AS index_name,
    format('DROP INDEX CONCURRENTLY %s', pg_class.oid::regclass) AS drop_command
FROM pg_index
INNER JOIN pg_class ON pg_index.indexrelid = pg_class.oid
WHERE
    NOT pg_index.indisvalid
    AND pg_class.relnamespace = current_schema()::regnamespace
    AND pg_class.relname = ANY($1::text[]::name[])
ORDER BY index_name;
