-- name: get_user :one
-- The account of a token.
-- $1 user_id  uuid
-- -> id     uuid
-- -> email  text
-- index: users_pkey
SELECT /* accounts/get_user */ id, email
FROM users
WHERE id = $1
