-- name: count_connections :one
-- How many connections the server takes, and how many of them are for ordinary roles. Asked once, at a start.
-- -> max_connections  integer
-- -> for_everybody    integer
-- index: none
SELECT /* health/count_connections */
    current_setting('max_connections')::integer AS max_connections,
    current_setting('max_connections')::integer
        - current_setting('superuser_reserved_connections')::integer
        - coalesce(current_setting('reserved_connections', true)::integer, 0) AS for_everybody
