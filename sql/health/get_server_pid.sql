-- name: get_server_pid :one
-- Which process of the server runs this. What a pooler says at connecting is another number, of its own making.
-- -> server_pid  integer
-- index: none
SELECT /* health/get_server_pid */ pg_backend_pid() AS server_pid
