-- name: list_missing_privileges :many
-- Which of the given privileges, each on a table, the role of this session lacks. EXPLAIN of a statement needs them.
-- A role without USAGE of the schema has no current schema, and is told about the schema public.
-- $1 privileges   text[]
-- $2 table_names  text[]
-- -> role_name    text
-- -> privilege    text
-- -> object_name  text
-- index: none
WITH /* review/list_missing_privileges */ ours AS (
    SELECT coalesce(current_schema(), 'public'::name)::regnamespace AS schema_id
)

SELECT
    current_user::text AS role_name,
    'USAGE' AS privilege,
    'schema ' || ours.schema_id::text AS object_name
FROM ours
WHERE NOT has_schema_privilege(ours.schema_id, 'USAGE')
UNION ALL
SELECT
    current_user::text AS role_name,
    needed.privilege,
    needed.table_name AS object_name
FROM unnest($1::text[], $2::text[]) AS needed (privilege, table_name)
CROSS JOIN ours
INNER JOIN pg_class ON needed.table_name = pg_class.relname AND ours.schema_id = pg_class.relnamespace
WHERE
    NOT CASE
        WHEN needed.privilege = 'DELETE' THEN has_table_privilege(pg_class.oid, 'DELETE')
        ELSE has_any_column_privilege(pg_class.oid, needed.privilege)
    END
ORDER BY object_name, privilege;
