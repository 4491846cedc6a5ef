-- name: change_password :one
-- Stores a new password and revokes all tokens. No row back: tokens were revoked since the old password was checked.
-- $1 user_id           uuid
-- $2 token_generation  bigint
-- $3 password_hash     text
-- -> id                uuid
-- -> email             text
-- -> created_at        timestamptz
-- -> token_generation  bigint
-- index: users_pkey
-- buffers: 16
UPDATE /* accounts/change_password */ users
SET
    password_hash = $3,
    token_generation = token_generation + 1,
    updated_at = now()
WHERE id = $1 AND token_generation = $2
RETURNING id, email, created_at, token_generation;
