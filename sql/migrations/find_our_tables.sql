-- name: find_our_tables :many
-- The tables in the current schema that have names of ours, and whether yoyo's table of migrations exists.
-- -> table_name  text
-- index: pg_class_relname_nsp_index
SELECT /* migrations/find_our_tables */ relname::text AS table_name
FROM pg_class
WHERE
    relnamespace = current_schema()::regnamespace
    AND relname IN ('users', 'tasks', '_yoyo_migration', 'migration_checksums')
ORDER BY relname;
