-- name: describe_tables :many
-- These tables, and what is special about each. Ordinary ones are described by an empty text.
-- $1 table_names  text[]
-- -> table_name   text
-- -> object_name  text
-- -> definition   text
-- index: pg_class_relname_nsp_index
SELECT /* migrations/describe_tables */
    pg_class.relname::text AS table_name,
    pg_class.relname::text AS object_name,
    concat_ws(
        ' ',
        CASE pg_class.relkind WHEN 'p' THEN 'PARTITIONED' END,
        CASE pg_class.relpersistence WHEN 'u' THEN 'UNLOGGED' END,
        CASE WHEN pg_class.relrowsecurity THEN 'ROW LEVEL SECURITY' END,
        (
            SELECT given.option
            FROM unnest(pg_class.reloptions) AS given (option)
            WHERE given.option LIKE 'fillfactor=%'
        )
    ) AS definition
FROM pg_class
WHERE
    pg_class.relnamespace = current_schema()::regnamespace
    AND pg_class.relname = ANY($1::text[]::name[])
    AND pg_class.relkind IN ('r', 'p')
ORDER BY table_name;
