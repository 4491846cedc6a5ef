-- name: find_outside_user :one
-- The user of an outside issuer, and the time until which their tokens are revoked. Never looked up by email.
-- $1 issuer   text
-- $2 subject  text
-- -> id                 uuid
-- -> email              text
-- -> tokens_revoked_at  timestamptz
-- index: users_issuer_subject_key, deleted_outside_users_pkey
-- buffers: 5
SELECT /* accounts/find_outside_user */
    users.id,
    users.email,
    greatest(users.tokens_revoked_at, deleted_outside_users.deleted_at) AS tokens_revoked_at
FROM users
LEFT JOIN deleted_outside_users
    ON deleted_outside_users.issuer = $1 AND deleted_outside_users.subject = $2
WHERE users.issuer = $1 AND users.subject = $2;
