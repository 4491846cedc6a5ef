-- name: get_user :one
-- The account of a token, as its owner sees it.
-- $1 user_id  uuid
-- -> id          uuid
-- -> email       text
-- -> created_at  timestamptz
-- index: users_pkey
-- buffers: 3
SELECT /* accounts/get_user */ id, email, created_at
FROM users
WHERE id = $1;
