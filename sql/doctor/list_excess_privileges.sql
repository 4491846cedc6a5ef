-- name: list_excess_privileges :many
-- Privileges that the migrations do not grant: any of PUBLIC on these tables, and those of this role on tables of other
-- owners beyond reading and writing rows.
-- $1 table_names  text[]
-- -> role_name    text
-- -> privilege    text
-- -> object_name  text
-- index: pg_class_relname_nsp_index, pg_attribute_relid_attnam_index
WITH /* doctor/list_excess_privileges */ ours AS (
    SELECT
        pg_class.oid AS table_id,
        pg_class.relname::text AS table_name,
        pg_class.relacl AS table_acl,
        pg_has_role(pg_class.relowner, 'USAGE') AS is_own
    FROM pg_class
    WHERE pg_class.relnamespace = current_schema()::regnamespace AND pg_class.relname = ANY($1::text[]::name[])
)

SELECT
    'PUBLIC' AS role_name,
    table_grants.privilege_type AS privilege,
    ours.table_name AS object_name
FROM ours
CROSS JOIN LATERAL aclexplode(ours.table_acl) AS table_grants
WHERE table_grants.grantee = 0
UNION ALL
SELECT
    current_user::text AS role_name,
    wanted.privilege,
    ours.table_name AS object_name
FROM ours
CROSS JOIN (VALUES ('TRUNCATE'), ('REFERENCES'), ('TRIGGER')) AS wanted (privilege)
WHERE NOT ours.is_own AND has_table_privilege(ours.table_id, wanted.privilege)
UNION ALL
SELECT
    current_user::text AS role_name,
    format('UPDATE (%I)', pg_attribute.attname) AS privilege,
    ours.table_name AS object_name
FROM ours
INNER JOIN pg_attribute ON ours.table_id = pg_attribute.attrelid
WHERE
    NOT ours.is_own
    AND pg_attribute.attname IN ('user_id', 'id', 'created_at')
    AND has_column_privilege(ours.table_id, pg_attribute.attnum, 'UPDATE')
UNION ALL
SELECT
    current_user::text AS role_name,
    'CREATE' AS privilege,
    'schema ' || current_schema() AS object_name
FROM ours
HAVING has_schema_privilege(current_schema(), 'CREATE') AND count(*) > 0 AND NOT bool_or(ours.is_own)
ORDER BY role_name, object_name, privilege;
