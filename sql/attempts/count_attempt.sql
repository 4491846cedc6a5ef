-- name: count_attempt :one
-- Counts an attempt. No row back: the newest $2 attempts of the bucket all lie within $3, so the limit is reached.
-- Concurrent attempts wait for each other at the row lock, so exactly $2 of them are counted.
-- $1 bucket  bytea
-- $2 most    integer
-- $3 window  interval
-- -> attempted_at  timestamptz
-- index: none
-- buffers: 11
INSERT /* attempts/count_attempt */ INTO attempts (bucket, attempted_at, ends_at)
VALUES ($1, ARRAY[now()], now() + $3)
ON CONFLICT (bucket) DO UPDATE
    SET
        attempted_at = excluded.attempted_at || attempts.attempted_at[:$2 - 1],
        ends_at = excluded.ends_at
    WHERE coalesce(attempts.attempted_at[$2], '-infinity') <= excluded.attempted_at[1] - $3
RETURNING attempted_at[1] AS attempted_at;
