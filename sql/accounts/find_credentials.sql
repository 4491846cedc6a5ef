-- name: find_credentials :one
-- The account behind an email, to check a password. The only statement that reads password_hash.
-- $1 email  text
-- -> id             uuid
-- -> email          text
-- -> created_at     timestamptz
-- -> password_hash  text
-- index: users_email_key
SELECT /* accounts/find_credentials */ id, email, created_at, password_hash
FROM users
WHERE email = $1 AND password_hash IS NOT NULL
