-- name: list_columns :many
-- Every column of every table, with its position. A statement's output is traced to them by the table's id.
-- -> table_id     oid
-- -> schema_name  text
-- -> table_name   text
-- -> column_name  text
-- -> place        integer
-- index: pg_attribute_relid_attnum_index
SELECT /* review/list_columns */
    pg_class.oid AS table_id,
    pg_namespace.nspname::text AS schema_name,
    pg_class.relname::text AS table_name,
    pg_attribute.attname::text AS column_name,
    pg_attribute.attnum::integer AS place
FROM pg_attribute
INNER JOIN pg_class ON pg_attribute.attrelid = pg_class.oid
INNER JOIN pg_namespace ON pg_class.relnamespace = pg_namespace.oid
WHERE
    pg_attribute.attnum > 0
    AND NOT pg_attribute.attisdropped
    AND pg_class.relkind IN ('r', 'p', 'f', 'm')
    AND pg_namespace.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
ORDER BY schema_name, table_name, place;
