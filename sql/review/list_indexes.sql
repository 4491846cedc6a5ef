-- name: list_indexes :many
-- Every usable index with its columns in order. A column that is an expression is NULL.
-- -> schema_name    text
-- -> table_name     text
-- -> index_name     text
-- -> is_unique      boolean
-- -> is_partial     boolean
-- -> is_never_null  boolean
-- -> column_names   text[]
-- index: none
SELECT /* review/list_indexes */
    pg_namespace.nspname::text AS schema_name,
    pg_class.relname::text AS table_name,
    index_class.relname::text AS index_name,
    pg_index.indisunique AS is_unique,
    pg_index.indpred IS NOT NULL AS is_partial,
    bool_and(coalesce(pg_attribute.attnotnull, FALSE)) AS is_never_null,
    array_agg(pg_attribute.attname::text ORDER BY index_keys.place) AS column_names
FROM pg_index
INNER JOIN pg_class ON pg_index.indrelid = pg_class.oid
INNER JOIN pg_class AS index_class ON pg_index.indexrelid = index_class.oid
INNER JOIN pg_namespace ON pg_class.relnamespace = pg_namespace.oid
CROSS JOIN LATERAL unnest(pg_index.indkey::int2[]) WITH ORDINALITY AS index_keys (attnum, place)
LEFT JOIN pg_attribute
    ON pg_class.oid = pg_attribute.attrelid AND index_keys.attnum = pg_attribute.attnum
WHERE
    pg_index.indisvalid
    AND index_keys.place <= pg_index.indnkeyatts
    AND pg_namespace.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
GROUP BY
    pg_namespace.nspname, pg_class.relname, index_class.relname, pg_index.indisunique, pg_index.indpred
ORDER BY schema_name, table_name, index_name;
