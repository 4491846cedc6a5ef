-- name: take_back_attempt :exec
-- Takes back one attempt that was counted: it was a success, or nobody could look at it.
-- $1 bucket        bytea
-- $2 attempted_at  timestamptz
-- index: attempts_pkey
UPDATE /* attempts/take_back_attempt */ attempts
SET
    -- Without one of that time: array_remove() would take along others of the same microsecond.
    attempted_at = attempted_at[1:array_position(attempted_at, $2) - 1]
    || attempted_at[array_position(attempted_at, $2) + 1:cardinality(attempted_at)]
WHERE bucket = $1 AND $2 = ANY(attempted_at)
