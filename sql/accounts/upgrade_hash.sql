-- name: upgrade_hash :exec
-- Stores a costlier hash of the same password, unless the password was changed since it was checked.
-- $1 user_id   uuid
-- $2 old_hash  text
-- $3 new_hash  text
-- index: users_pkey
-- buffers: 16
UPDATE /* accounts/upgrade_hash */ users
SET
    password_hash = $3,
    updated_at = now()
WHERE id = $1 AND password_hash = $2
