-- name: get_wait :one
-- The time until the bucket takes an attempt again: until the oldest of its newest $2 is older than $3.
-- $1 bucket  bytea
-- $2 most    integer
-- $3 window  interval
-- -> remaining  interval
-- index: attempts_pkey
-- buffers: 3
SELECT /* attempts/get_wait */ attempted_at[$2] + $3 - now() AS remaining
FROM attempts
WHERE bucket = $1;
