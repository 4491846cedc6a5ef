-- name: get_server_pid :one
-- The process id of the server process. A pooler reports a made-up one when a session connects.
-- -> server_pid  integer
-- index: none
-- buffers: 0
SELECT /* health/get_server_pid */ pg_backend_pid() AS server_pid;
