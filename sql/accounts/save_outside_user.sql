-- name: save_outside_user :exec
-- A user of an outside issuer, made at first sight, or given the email of a newer token. Requests that race make one.
-- A token that was issued before the user was deleted makes none.
-- $1 issuer     text
-- $2 subject    text
-- $3 email      text
-- $4 issued_at  timestamptz
-- index: deleted_outside_users_pkey
INSERT /* accounts/save_outside_user */ INTO users (issuer, subject, email)
SELECT
    $1 AS issuer,
    $2 AS subject,
    $3 AS email
WHERE
    NOT EXISTS (
        SELECT 1 FROM deleted_outside_users
        WHERE issuer = $1 AND subject = $2 AND deleted_at >= $4
    )
ON CONFLICT (issuer, subject) DO UPDATE
    SET
        email = coalesce(excluded.email, users.email),
        updated_at = excluded.updated_at
