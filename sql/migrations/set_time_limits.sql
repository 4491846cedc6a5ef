-- name: set_time_limits :one
-- Sets the time limits of the session, or of the transaction. 0 is no limit.
-- $1 lock_timeout       text
-- $2 statement_timeout  text
-- $3 is_local           boolean
-- -> lock_timeout       text
-- -> statement_timeout  text
-- index: none
SELECT /* migrations/set_time_limits */
    set_config('lock_timeout', $1, $3) AS lock_timeout,
    set_config('statement_timeout', $2, $3) AS statement_timeout;
