-- name: describe_constraints :many
-- The constraints of these tables. NOT NULL belongs to the column, though version 18 lists it as a constraint too.
-- $1 table_names  text[]
-- -> table_name   text
-- -> object_name  text
-- -> definition   text
-- index: pg_class_relname_nsp_index, pg_constraint_conrelid_contypid_conname_index
SELECT /* migrations/describe_constraints */
    pg_class.relname::text AS table_name,
    pg_constraint.conname::text AS object_name,
    pg_get_constraintdef(pg_constraint.oid, TRUE) AS definition
FROM pg_class
INNER JOIN pg_constraint ON pg_class.oid = pg_constraint.conrelid
WHERE
    pg_class.relnamespace = current_schema()::regnamespace
    AND pg_class.relname = ANY($1::text[]::name[])
    AND pg_constraint.contype IN ('p', 'u', 'f', 'c', 'x')
ORDER BY table_name, object_name;
