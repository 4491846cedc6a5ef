-- name: check_server :one
-- How many of the migrations this code knows are applied, and whether the server takes writes.
-- Fewer than all means the schema is behind; a server that takes none is a standby, or was told to.
-- $1 migration_ids  text[]
-- -> applied       bigint
-- -> is_read_only  boolean
-- index: none
SELECT /* health/check_server */
    count(*) AS applied,
    current_setting('transaction_read_only')::boolean AS is_read_only
FROM _yoyo_migration
WHERE migration_id = ANY($1::text[])
