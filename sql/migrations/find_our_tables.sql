-- name: find_our_tables :many
-- Which tables with the names of ours the current schema holds, whoever made them, and whether yoyo keeps its book.
-- -> table_name  text
-- index: pg_class_relname_nsp_index
SELECT /* migrations/find_our_tables */ relname::text AS table_name
FROM pg_class
WHERE
    relnamespace = current_schema()::regnamespace
    AND relname IN ('users', 'tasks', '_yoyo_migration')
ORDER BY relname
