-- name: update_outside_email :exec
-- The email that a newer token of an outside issuer says. It makes nobody: the user may be deleted at this moment.
-- $1 user_id  uuid
-- $2 email    text
-- index: users_pkey
UPDATE /* accounts/update_outside_email */ users
SET
    email = $2,
    updated_at = now()
WHERE id = $1 AND password_hash IS NULL
