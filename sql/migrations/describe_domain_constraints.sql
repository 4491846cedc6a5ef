-- name: describe_domain_constraints :many
-- The constraints of the domains of the columns of these tables.
-- $1 table_names  text[]
-- -> table_name   text
-- -> object_name  text
-- -> definition   text
-- index: pg_class_relname_nsp_index, pg_attribute_relid_attnum_index, pg_constraint_contypid_index
SELECT /* migrations/describe_domain_constraints */ DISTINCT
    pg_class.relname::text AS table_name,
    pg_constraint.conname::text AS object_name,
    pg_get_constraintdef(pg_constraint.oid, TRUE) AS definition
FROM pg_class
INNER JOIN pg_attribute ON pg_class.oid = pg_attribute.attrelid
INNER JOIN pg_constraint ON pg_attribute.atttypid = pg_constraint.contypid
WHERE
    pg_class.relnamespace = current_schema()::regnamespace
    AND pg_class.relname = ANY($1::text[]::name[])
    AND pg_attribute.attnum > 0
    AND NOT pg_attribute.attisdropped  -- the type of a dropped column is 0, and so is a table constraint's domain
    AND pg_constraint.contype = 'c'
ORDER BY table_name, object_name;
