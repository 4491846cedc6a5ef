-- name: get_lock_timeout :one
-- After how many milliseconds the server ends this session's wait for a lock; 0 is never. Asked once, at a start.
-- -> milliseconds  integer
-- index: none
SELECT /* health/get_lock_timeout */
    (extract(EPOCH FROM current_setting('lock_timeout')::interval) * 1000)::integer AS milliseconds
