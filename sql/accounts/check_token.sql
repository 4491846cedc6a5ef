-- name: check_token :one
-- Checks a token: no row back when its user was deleted, or has revoked it since it was issued.
-- $1 user_id           uuid
-- $2 token_generation  bigint
-- -> user_id  uuid
-- index: users_pkey
-- buffers: 3
SELECT /* accounts/check_token */ id AS user_id
FROM users
WHERE id = $1 AND token_generation = $2;
