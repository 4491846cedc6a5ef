-- name: remember_network :exec
-- Moves the network of a login to the front of the user's known networks, and keeps the newest five.
-- One UPDATE: concurrent logins wait for each other at the row lock, so none is lost and there are never more than
-- five.
-- $1 user_id  uuid
-- $2 network  bytea
-- index: users_pkey
-- buffers: 16
UPDATE /* accounts/remember_network */ users
SET known_networks = array_prepend($2, (array_remove(known_networks, $2))[:4])
WHERE id = $1;
