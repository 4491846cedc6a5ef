-- name: find_deleted_user :one
-- When a user of an outside issuer was deleted, and until when that is remembered; forget_deleted_users deletes it.
-- $1 issuer   text
-- $2 subject  text
-- -> deleted_at        timestamptz
-- -> remembered_until  timestamptz
-- index: deleted_outside_users_pkey
-- buffers: 2
SELECT /* accounts/find_deleted_user */
    deleted_at,
    deleted_at + interval '1 day' AS remembered_until
FROM deleted_outside_users
WHERE issuer = $1 AND subject = $2;
