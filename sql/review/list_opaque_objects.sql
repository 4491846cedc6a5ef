-- name: list_opaque_objects :many
-- Objects that a statement must not use, because neither its text nor its plan shows what they do.
-- They are views, and functions and operators: all that are not PostgreSQL's own, and its functions that change data.
-- -> kind         text
-- -> object_name  text
-- index: none
SELECT /* review/list_opaque_objects */
    'function' AS kind,
    pg_proc.proname::text AS object_name
FROM pg_proc
INNER JOIN pg_namespace ON pg_proc.pronamespace = pg_namespace.oid
GROUP BY pg_proc.proname
HAVING
    -- PostgreSQL's own come first in every search path.
    NOT bool_or(pg_namespace.nspname = 'pg_catalog')
    OR bool_or(pg_namespace.nspname = 'pg_catalog' AND pg_proc.provolatile = 'v')
UNION ALL
SELECT
    'operator' AS kind,
    pg_operator.oprname::text AS object_name
FROM pg_operator
INNER JOIN pg_namespace ON pg_operator.oprnamespace = pg_namespace.oid
WHERE pg_namespace.nspname <> 'pg_catalog'
UNION ALL
SELECT
    'view' AS kind,
    pg_class.relname::text AS object_name
FROM pg_class
INNER JOIN pg_namespace ON pg_class.relnamespace = pg_namespace.oid
WHERE pg_class.relkind IN ('v', 'm', 'f') AND pg_namespace.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY kind, object_name;
