-- name: save_outside_user :exec
-- Creates a user of an outside issuer at the first token. Concurrent requests create one user.
-- A token from before the user was deleted creates none. When a newer token creates the user, older ones stay revoked.
-- $1 issuer     text
-- $2 subject    text
-- $3 email      text
-- $4 issued_at  timestamptz
-- index: deleted_outside_users_pkey
-- buffers: 10
INSERT /* accounts/save_outside_user */ INTO users (issuer, subject, email, tokens_revoked_at)
SELECT
    $1 AS issuer,
    $2 AS subject,
    $3 AS email,
    max(deleted_at) AS tokens_revoked_at
FROM deleted_outside_users
WHERE issuer = $1 AND subject = $2
HAVING coalesce(max(deleted_at), '-infinity') < $4
ON CONFLICT (issuer, subject) DO NOTHING;
