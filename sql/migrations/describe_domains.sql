-- name: describe_domains :many
-- The domains of the columns of these tables, without their constraints.
-- $1 table_names  text[]
-- -> table_name   text
-- -> object_name  text
-- -> definition   text
-- index: pg_class_relname_nsp_index, pg_attribute_relid_attnum_index, pg_type_oid_index
SELECT /* migrations/describe_domains */ DISTINCT
    pg_class.relname::text AS table_name,
    pg_type.typname::text AS object_name,
    concat_ws(
        ' ',
        format_type(pg_type.typbasetype, pg_type.typtypmod),
        CASE WHEN pg_type.typnotnull THEN 'NOT NULL' END,
        'DEFAULT ' || pg_type.typdefault
    ) AS definition
FROM pg_class
INNER JOIN pg_attribute ON pg_class.oid = pg_attribute.attrelid
INNER JOIN pg_type ON pg_attribute.atttypid = pg_type.oid
WHERE
    pg_class.relnamespace = current_schema()::regnamespace
    AND pg_class.relname = ANY($1::text[]::name[])
    AND pg_attribute.attnum > 0
    AND pg_type.typtype = 'd'
ORDER BY table_name, object_name;
