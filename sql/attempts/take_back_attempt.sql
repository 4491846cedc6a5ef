-- name: take_back_attempt :exec
-- Takes back an attempt that was counted: it was a success, or nobody could look at it.
-- $1 bucket        bytea
-- $2 attempted_at  timestamptz
-- index: attempts_pkey
UPDATE /* attempts/take_back_attempt */ attempts
SET attempted_at = array_remove(attempted_at, $2)
WHERE bucket = $1
