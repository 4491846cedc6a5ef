-- name: get_time_limits :one
-- The time limits that a migration has set for its session.
-- -> lock_timeout       text
-- -> statement_timeout  text
-- index: none
SELECT /* migrations/get_time_limits */
    current_setting('lock_timeout') AS lock_timeout,
    current_setting('statement_timeout') AS statement_timeout;
