-- name: list_blockers :many
-- The sessions for which another one waits, oldest transaction first. The server hides the age and the query of other
-- roles' sessions, except from members of pg_read_all_stats. Process 0 is a prepared transaction (pg_prepared_xacts).
-- $1 server_pid        integer
-- -> application_name  text
-- -> query             text
-- -> blocking_pid      integer
-- -> age_seconds       bigint
-- index: none
SELECT /* migrations/list_blockers */
    pg_stat_activity.application_name,
    pg_stat_activity.query,
    blockers.pid AS blocking_pid,
    extract(EPOCH FROM clock_timestamp() - pg_stat_activity.xact_start)::bigint AS age_seconds
FROM unnest(pg_blocking_pids($1)) AS blockers (pid)
LEFT JOIN pg_stat_activity ON blockers.pid = pg_stat_activity.pid
ORDER BY age_seconds DESC NULLS LAST, blocking_pid ASC;
