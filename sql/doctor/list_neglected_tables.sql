-- name: list_neglected_tables :many
-- Tables that no VACUUM cleans: autovacuum is off for them, or they have twice as many dead rows as autovacuum allows,
-- and more than the given number.
-- $1 table_names  text[]
-- $2 dead_rows    bigint
-- -> table_name    text
-- -> is_off        boolean
-- -> live_count    bigint
-- -> dead_count    bigint
-- index: pg_class_relname_nsp_index
SELECT /* doctor/list_neglected_tables */
    sizes.table_name,
    sizes.is_off,
    sizes.live_count,
    sizes.dead_count
FROM (
    SELECT
        pg_class.relname::text AS table_name,
        coalesce(
            pg_class.reloptions && ARRAY['autovacuum_enabled=false', 'autovacuum_enabled=off', 'autovacuum_enabled=0'],
            FALSE
        ) AS is_off,
        -- After a crash the statistics have no rows, while those of the last VACUUM or ANALYZE stay known.
        greatest(pg_stat_get_live_tuples(pg_class.oid), pg_class.reltuples::bigint) AS live_count,
        pg_stat_get_dead_tuples(pg_class.oid) AS dead_count
    FROM pg_class
    WHERE pg_class.relnamespace = current_schema()::regnamespace AND pg_class.relname = ANY($1::text[]::name[])
) AS sizes
WHERE
    sizes.is_off
    OR (
        sizes.dead_count > $2
        AND sizes.dead_count > 2 * (
            current_setting('autovacuum_vacuum_threshold')::float8
            + current_setting('autovacuum_vacuum_scale_factor')::float8 * sizes.live_count
        )
    )
ORDER BY sizes.table_name;
