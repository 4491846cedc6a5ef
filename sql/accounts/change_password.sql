-- name: change_password :one
-- A new password, unless it was changed since the old one was checked. Every token issued before is revoked by it.
-- $1 user_id   uuid
-- $2 old_hash  text
-- $3 new_hash  text
-- -> id                uuid
-- -> email             text
-- -> created_at        timestamptz
-- -> token_generation  bigint
-- index: users_pkey
UPDATE /* accounts/change_password */ users
SET
    password_hash = $3,
    token_generation = token_generation + 1,
    updated_at = now()
WHERE id = $1 AND password_hash = $2
RETURNING id, email, created_at, token_generation
