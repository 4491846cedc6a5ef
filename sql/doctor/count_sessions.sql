-- name: count_sessions :one
-- The sessions of clients on this server, those of the service among them, and the hosts that these come from.
-- The server hides the host, the query and the age of a session from other roles, except from members of pg_monitor.
-- $1 application_name  text
-- -> of_service    bigint
-- -> host_count    bigint
-- -> of_others     bigint
-- -> hidden_count  bigint
-- index: none
SELECT /* doctor/count_sessions */
    count(*) FILTER (WHERE application_name = $1) AS of_service,
    count(DISTINCT client_addr) FILTER (WHERE application_name = $1) AS host_count,
    count(*) FILTER (WHERE application_name <> $1) AS of_others,
    count(*) FILTER (WHERE query = '<insufficient privilege>') AS hidden_count
FROM pg_stat_activity
WHERE datid IS NOT NULL AND pid <> pg_backend_pid() AND coalesce(backend_type, 'client backend') = 'client backend';
