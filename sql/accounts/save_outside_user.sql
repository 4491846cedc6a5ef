-- name: save_outside_user :one
-- A user of an outside issuer, made at first sight, or given the email of a newer token. Requests that race make one.
-- $1 issuer   text
-- $2 subject  text
-- $3 email    text
-- -> id     uuid
-- -> email  text
-- index: none
INSERT /* accounts/save_outside_user */ INTO users (issuer, subject, email)
VALUES ($1, $2, $3)
ON CONFLICT (issuer, subject) DO UPDATE
    SET
        email = coalesce(excluded.email, users.email),
        updated_at = excluded.updated_at
RETURNING id, email
