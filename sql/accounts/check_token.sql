-- name: check_token :one
-- Whether a token's user is still there, and has not revoked the token since. No row back means one or the other.
-- $1 user_id           uuid
-- $2 token_generation  bigint
-- -> user_id  uuid
-- index: users_pkey
SELECT /* accounts/check_token */ id AS user_id
FROM users
WHERE id = $1 AND token_generation = $2
