-- name: list_table_statistics :many
-- The sizes that the planner takes for those of these tables, and when they were analyzed last. -1 rows: not known yet.
-- $1 table_names  text[]
-- -> table_name   text
-- -> row_count    bigint
-- -> page_count   integer
-- -> analyzed_at  timestamptz
-- index: pg_class_relname_nsp_index
SELECT /* review/list_table_statistics */
    pg_class.relname::text AS table_name,
    pg_class.reltuples::bigint AS row_count,
    pg_class.relpages AS page_count,
    greatest(
        pg_stat_get_last_analyze_time(pg_class.oid), pg_stat_get_last_autoanalyze_time(pg_class.oid)
    ) AS analyzed_at
FROM pg_class
WHERE pg_class.relnamespace = current_schema()::regnamespace AND pg_class.relname = ANY($1::text[]::name[])
ORDER BY table_name;
