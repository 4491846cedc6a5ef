-- name: check_server :one
-- How many of the given migrations are applied, and whether the server is read-only.
-- Fewer than all means that the schema is behind. A read-only server is a standby, or was set to it.
-- $1 migration_ids  text[]
-- -> applied       bigint
-- -> is_read_only  boolean
-- index: none
-- buffers: 1
SELECT /* health/check_server */
    count(*) AS applied,
    current_setting('transaction_read_only')::boolean AS is_read_only
FROM _yoyo_migration
WHERE migration_id = ANY($1::text[]);
