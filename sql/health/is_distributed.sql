-- name: is_distributed :one
-- Whether this is Citus, where a transaction with writes for several owners may be undone for some of them only.
-- -> is_distributed  boolean
-- index: none
-- buffers: 0
SELECT /* health/is_distributed */ coalesce(current_setting('citus.version', true), '') <> '' AS is_distributed;
