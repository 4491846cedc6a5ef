-- name: find_credentials :one
-- The account of an email.
-- $1 email  text
-- -> id             uuid
-- -> email          text
-- -> password_hash  text
-- index: users_email_key
SELECT /* accounts/find_credentials */ id, email, password_hash
FROM users
WHERE email = $1 AND password_hash IS NOT NULL
