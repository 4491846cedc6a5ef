-- name: get_password :one
-- The password hash, to confirm a change of the account. It is NULL for a user of an outside issuer.
-- $1 user_id  uuid
-- -> id                uuid
-- -> token_generation  bigint
-- -> password_hash     text
-- index: users_pkey
-- buffers: 3
SELECT /* accounts/get_password */ id, token_generation, password_hash
FROM users
WHERE id = $1;
