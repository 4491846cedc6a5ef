-- name: get_server :one
-- The server, and its settings for this session and its role.
-- -> role_name                      text
-- -> version_number                 integer
-- -> has_full_rights                boolean
-- -> is_read_only                   boolean
-- -> has_old_collation              boolean
-- -> lowers_ascii_alone             boolean
-- -> unix_seconds                   float8
-- -> transaction_age                bigint
-- -> connection_limit               integer
-- -> days_valid                     float8
-- -> fsync                          text
-- -> full_page_writes               text
-- -> synchronous_commit             text
-- -> autovacuum                     text
-- -> default_transaction_isolation  text
-- -> session_replication_role       text
-- -> statement_timeout_ms           integer
-- -> lock_timeout_ms                integer
-- -> transaction_timeout_ms         integer
-- index: none
SELECT /* doctor/get_server */
    current_user::text AS role_name,
    current_setting('server_version_num')::integer AS version_number,
    current_setting('is_superuser')::boolean AS has_full_rights,
    pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean AS is_read_only,
    coalesce(pg_database.datcollversion <> pg_database_collation_actual_version(pg_database.oid), FALSE)
        AS has_old_collation,
    lower('Ä') <> 'ä' AS lowers_ascii_alone,
    extract(EPOCH FROM clock_timestamp())::float8 AS unix_seconds,
    age(pg_database.datfrozenxid)::bigint AS transaction_age,
    -- The lower one of the role and the database. -1 means no limit.
    least(nullif(pg_roles.rolconnlimit, -1), nullif(pg_database.datconnlimit, -1)) AS connection_limit,
    extract(EPOCH FROM nullif(pg_roles.rolvaliduntil, 'infinity') - now())::float8 / 86400 AS days_valid,
    current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('autovacuum') AS autovacuum,
    current_setting('default_transaction_isolation') AS default_transaction_isolation,
    current_setting('session_replication_role') AS session_replication_role,
    (extract(EPOCH FROM current_setting('statement_timeout')::interval) * 1000)::integer AS statement_timeout_ms,
    (extract(EPOCH FROM current_setting('lock_timeout')::interval) * 1000)::integer AS lock_timeout_ms,
    (extract(EPOCH FROM current_setting('idle_in_transaction_session_timeout')::interval) * 1000)::integer
        AS transaction_timeout_ms
FROM pg_database
INNER JOIN pg_roles ON pg_roles.rolname = current_user
WHERE pg_database.datname = current_database();
