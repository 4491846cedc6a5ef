-- name: upgrade_hash :exec
-- Stores a costlier hash of the same password, unless the password was changed since it was checked.
-- A change of the password raises the generation, so the hash itself is not compared: it is read to be checked only.
-- $1 user_id           uuid
-- $2 token_generation  bigint
-- $3 new_hash          text
-- index: users_pkey
-- buffers: 16
UPDATE /* accounts/upgrade_hash */ users
SET
    password_hash = $3,
    updated_at = now()
WHERE id = $1 AND token_generation = $2;
