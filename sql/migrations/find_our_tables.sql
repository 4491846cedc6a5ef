-- name: find_our_tables :many
-- Tables with these names in the current schema, made by us or not.
-- -> table_name  text
-- index: pg_class_relname_nsp_index
SELECT /* migrations/find_our_tables */ relname::text AS table_name
FROM pg_class
WHERE
    relnamespace = current_schema()::regnamespace
    AND relname IN ('users', 'tasks', '_yoyo_migration', 'migration_checksums')
ORDER BY relname
