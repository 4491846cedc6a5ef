-- name: describe_triggers :many
-- The triggers of these tables, and the foreign keys that are not enforced because theirs are disabled.
-- $1 table_names  text[]
-- -> table_name   text
-- -> object_name  text
-- -> definition   text
-- index: pg_class_relname_nsp_index, pg_constraint_oid_index
SELECT /* migrations/describe_triggers */
    pg_class.relname::text AS table_name,
    coalesce(pg_constraint.conname, pg_trigger.tgname)::text AS object_name,
    concat_ws(
        ' ',
        CASE WHEN NOT pg_trigger.tgisinternal THEN pg_get_triggerdef(pg_trigger.oid, TRUE) END,
        CASE pg_trigger.tgenabled WHEN 'D' THEN 'DISABLED' END
    ) AS definition
FROM pg_class
INNER JOIN pg_trigger ON pg_class.oid = pg_trigger.tgrelid
LEFT JOIN pg_constraint ON pg_trigger.tgconstraint = pg_constraint.oid
WHERE
    pg_class.relnamespace = current_schema()::regnamespace
    AND pg_class.relname = ANY($1::text[]::name[])
    AND (NOT pg_trigger.tgisinternal OR pg_trigger.tgenabled = 'D')
ORDER BY table_name, object_name;
