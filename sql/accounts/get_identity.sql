-- name: get_identity :one
-- What a user is known by, here and at an outside issuer: for the commands that delete the account.
-- $1 user_id  uuid
-- -> id                uuid
-- -> email             text
-- -> issuer            text
-- -> subject           text
-- -> token_generation  bigint
-- index: users_pkey
-- buffers: 3
SELECT /* accounts/get_identity */ id, email, issuer, subject, token_generation
FROM users
WHERE id = $1;
