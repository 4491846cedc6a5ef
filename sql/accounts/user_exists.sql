-- name: user_exists :one
-- Checks that the token's user still exists. Only asked after a miss, to tell 401 from 404.
-- $1 user_id  uuid
-- -> user_id  uuid
-- index: users_pkey
-- buffers: 3
SELECT /* accounts/user_exists */ id AS user_id
FROM users
WHERE id = $1;
