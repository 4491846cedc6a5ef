-- name: list_owned_tables :many
-- Every table with a user_id column, and the position of that column.
-- -> schema_name  text
-- -> table_name   text
-- -> place        integer
-- index: pg_namespace_oid_index
SELECT /* review/list_owned_tables */
    pg_namespace.nspname::text AS schema_name,
    pg_class.relname::text AS table_name,
    pg_attribute.attnum::integer AS place
FROM pg_attribute
INNER JOIN pg_class ON pg_attribute.attrelid = pg_class.oid
INNER JOIN pg_namespace ON pg_class.relnamespace = pg_namespace.oid
WHERE
    pg_attribute.attname = 'user_id'
    AND NOT pg_attribute.attisdropped
    AND pg_class.relkind IN ('r', 'p', 'f', 'm')
    AND pg_namespace.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY schema_name, table_name
