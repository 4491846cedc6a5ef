-- name: count_connections :one
-- The connections that the server allows, and those that it reserves for some roles. Asked once, at start.
-- -> max_connections  integer
-- -> for_superusers   integer
-- -> for_reserved     integer
-- index: none
-- buffers: 0
SELECT /* health/count_connections */
    current_setting('max_connections')::integer AS max_connections,
    current_setting('superuser_reserved_connections')::integer AS for_superusers,
    coalesce(current_setting('reserved_connections', true)::integer, 0) AS for_reserved;
