-- name: take_back_attempt :exec
-- Removes one counted attempt: it was a success, or its password could not be checked.
-- $1 bucket        bytea
-- $2 attempted_at  timestamptz
-- index: attempts_pkey
-- buffers: 10
UPDATE /* attempts/take_back_attempt */ attempts
SET
    -- Removes one element: array_remove() would also remove others of the same microsecond.
    attempted_at = attempted_at[1:array_position(attempted_at, $2) - 1]
    || attempted_at[array_position(attempted_at, $2) + 1:cardinality(attempted_at)]
WHERE bucket = $1 AND $2 = ANY(attempted_at);
