-- name: create_user :one
-- Creates an account. A taken email violates users_email_key, which also decides between sign-ups that race.
-- $1 email          text
-- $2 password_hash  text
-- $3 network        bytea
-- -> id                uuid
-- -> email             text
-- -> created_at        timestamptz
-- -> token_generation  bigint
-- index: none
-- buffers: 7
INSERT /* accounts/create_user */ INTO users (email, password_hash, known_networks)
VALUES ($1, $2, ARRAY[$3]::bytea[])
RETURNING id, email, created_at, token_generation;
