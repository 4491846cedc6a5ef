-- name: get_type :one
-- The two names of a type: timestamptz, and timestamp with time zone.
-- $1 type_id  oid
-- -> short_name  text
-- -> long_name   text
-- index: pg_type_oid_index
SELECT /* review/get_type */
    typname::text AS short_name,
    format_type(oid, NULL) AS long_name
FROM pg_type
WHERE oid = $1;
