-- name: list_objects :many
-- The tables of the current schema, and their triggers and rules: what sql/tables.md must declare.
-- A partition is declared by its table. Left out are the tables of extensions, and the triggers that PostgreSQL makes
-- for foreign keys.
-- -> kind         text
-- -> object_name  text
-- -> table_name   text
-- -> schema_name  text
-- index: pg_class_oid_index, pg_rewrite_rel_rulename_index
WITH /* review/list_objects */ ours AS (
    SELECT
        pg_class.oid,
        pg_class.relname::text AS table_name,
        pg_class.relispartition
    FROM pg_class
    WHERE
        pg_class.relnamespace = current_schema()::regnamespace
        AND pg_class.relkind IN ('r', 'p', 'f')
        AND NOT EXISTS (
            SELECT 1
            FROM pg_depend
            WHERE
                pg_depend.classid = 'pg_class'::regclass
                AND pg_depend.objid = pg_class.oid
                AND pg_depend.deptype = 'e'
        )
)

SELECT
    'table' AS kind,
    ours.table_name AS object_name,
    ours.table_name,
    current_schema()::text AS schema_name
FROM ours
WHERE NOT ours.relispartition
UNION ALL
SELECT
    'partition' AS kind,
    ours.table_name AS object_name,
    root.relname::text AS table_name,
    current_schema()::text AS schema_name
FROM ours
INNER JOIN pg_class AS root ON pg_partition_root(ours.oid) = root.oid
WHERE ours.relispartition
UNION ALL
SELECT
    'trigger' AS kind,
    pg_trigger.tgname::text AS object_name,
    ours.table_name,
    current_schema()::text AS schema_name
FROM ours
INNER JOIN pg_trigger ON ours.oid = pg_trigger.tgrelid
WHERE NOT pg_trigger.tgisinternal AND pg_trigger.tgparentid = 0
UNION ALL
SELECT
    'rule' AS kind,
    pg_rewrite.rulename::text AS object_name,
    ours.table_name,
    current_schema()::text AS schema_name
FROM ours
INNER JOIN pg_rewrite ON ours.oid = pg_rewrite.ev_class
ORDER BY kind, table_name, object_name;
