-- name: list_old_transactions :many
-- Transactions of this database that began long ago: no VACUUM removes a row that was deleted since. Oldest first.
-- $1 older_than_seconds  float8
-- -> holder       text
-- -> role_name    text
-- -> state        text
-- -> age_seconds  bigint
-- -> end_command  text
-- index: pg_authid_oid_index
SELECT /* doctor/list_old_transactions */
    'the transaction of process ' || pid AS holder,
    usename::text AS role_name,
    state,
    extract(EPOCH FROM clock_timestamp() - xact_start)::bigint AS age_seconds,
    format('SELECT pg_terminate_backend(%s)', pid) AS end_command
FROM pg_stat_activity
WHERE
    datname = current_database()
    AND backend_type = 'client backend'
    AND pid <> pg_backend_pid()
    AND extract(EPOCH FROM clock_timestamp() - xact_start) > $1::float8
UNION ALL
SELECT
    format('the prepared transaction %L', gid) AS holder,
    owner::text AS role_name,
    'prepared' AS state,
    extract(EPOCH FROM clock_timestamp() - prepared)::bigint AS age_seconds,
    format('ROLLBACK PREPARED %L', gid) AS end_command
FROM pg_prepared_xacts
WHERE database = current_database() AND extract(EPOCH FROM clock_timestamp() - prepared) > $1::float8
ORDER BY age_seconds DESC, holder ASC;
