-- name: remember_network :exec
-- Puts the address of a login first among those that the user is known to use, and keeps the newest five.
-- One UPDATE: logins that race wait for each other at the row, so none is lost and there are never more than five.
-- $1 user_id  uuid
-- $2 network  bytea
-- index: users_pkey
UPDATE /* accounts/remember_network */ users
SET known_networks = array_prepend($2, (array_remove(known_networks, $2))[:4])
WHERE id = $1
