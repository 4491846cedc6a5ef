-- name: list_foreign_keys :many
-- Every foreign key of the current schema's tables, with its columns and the parent's in the same order.
-- -> table_name      text
-- -> parent_name     text
-- -> column_names    text[]
-- -> parent_columns  text[]
-- index: pg_attribute_relid_attnum_index, pg_class_oid_index
WITH /* review/list_foreign_keys */ key_columns AS (
    SELECT
        pg_constraint.oid AS key_id,
        pg_constraint.conrelid,
        pg_constraint.confrelid,
        unnest(pg_constraint.conkey) AS attnum,
        unnest(pg_constraint.confkey) AS parent_attnum
    FROM pg_constraint
    INNER JOIN pg_class ON pg_constraint.conrelid = pg_class.oid
    WHERE pg_constraint.contype = 'f' AND pg_class.relnamespace = current_schema()::regnamespace
)

SELECT
    child.relname::text AS table_name,
    parent.relname::text AS parent_name,
    array_agg(child_column.attname::text ORDER BY child_column.attnum) AS column_names,
    array_agg(parent_column.attname::text ORDER BY child_column.attnum) AS parent_columns
FROM key_columns
INNER JOIN pg_class AS child ON key_columns.conrelid = child.oid
INNER JOIN pg_class AS parent ON key_columns.confrelid = parent.oid
INNER JOIN pg_attribute AS child_column
    ON child.oid = child_column.attrelid AND key_columns.attnum = child_column.attnum
INNER JOIN pg_attribute AS parent_column
    ON parent.oid = parent_column.attrelid AND key_columns.parent_attnum = parent_column.attnum
GROUP BY key_columns.key_id, child.relname, parent.relname
ORDER BY table_name, parent_name, column_names;
