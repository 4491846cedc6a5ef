-- name: is_distributed :one
-- Whether this is Citus, where what one transaction writes for several owners may be undone for some of them alone.
-- -> is_distributed  boolean
-- index: none
SELECT /* health/is_distributed */ coalesce(current_setting('citus.version', true), '') <> '' AS is_distributed
