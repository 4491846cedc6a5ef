-- name: get_lock_timeout :one
-- The lock_timeout of this session in milliseconds, 0 for none. Asked once, at start.
-- -> milliseconds  integer
-- index: none
-- buffers: 0
SELECT /* health/get_lock_timeout */
    (extract(EPOCH FROM current_setting('lock_timeout')::interval) * 1000)::integer AS milliseconds;
