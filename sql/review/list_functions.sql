-- name: list_functions :many
-- The functions that are not PostgreSQL's own. What they read, a plan does not show.
-- -> function_name  text
-- index: none
SELECT /* review/list_functions */ DISTINCT pg_proc.proname::text AS function_name
FROM pg_proc
INNER JOIN pg_namespace ON pg_proc.pronamespace = pg_namespace.oid
WHERE pg_namespace.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY function_name
