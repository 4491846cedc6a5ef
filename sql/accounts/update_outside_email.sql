-- name: update_outside_email :exec
-- Stores the email of a newer token of an outside issuer. Creates no user: the user may just have been deleted.
-- `issuer <> ''` holds for every outside user. IS NOT NULL would be a condition for the index on issuer, and the server
-- prefers that to the primary key while there are few outside users.
-- $1 user_id  uuid
-- $2 email    text
-- index: users_pkey
-- buffers: 14
UPDATE /* accounts/update_outside_email */ users
SET
    email = $2,
    updated_at = now()
WHERE id = $1 AND issuer <> '';
