-- name: describe_indexes :many
-- The indexes of these tables, without those that belong to a constraint. An invalid one is used by no query.
-- $1 table_names  text[]
-- -> table_name   text
-- -> object_name  text
-- -> definition   text
-- index: pg_class_relname_nsp_index, pg_class_oid_index
SELECT /* migrations/describe_indexes */
    pg_class.relname::text AS table_name,
    index_class.relname::text AS object_name,
    concat_ws(
        ' ',
        pg_get_indexdef(pg_index.indexrelid, 0, TRUE),
        CASE WHEN NOT pg_index.indisvalid THEN 'INVALID' END
    ) AS definition
FROM pg_class
INNER JOIN pg_index ON pg_class.oid = pg_index.indrelid
INNER JOIN pg_class AS index_class ON pg_index.indexrelid = index_class.oid
WHERE
    pg_class.relnamespace = current_schema()::regnamespace
    AND pg_class.relname = ANY($1::text[]::name[])
    AND NOT EXISTS (
        SELECT 1 FROM pg_constraint
        WHERE
            pg_constraint.conindid = pg_index.indexrelid
            AND pg_constraint.contype IN ('p', 'u', 'x')
    )
ORDER BY table_name, object_name;
