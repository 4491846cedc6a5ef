-- name: find_outside_user :one
-- The user of an outside issuer. Nobody is found by an email here.
-- $1 issuer   text
-- $2 subject  text
-- -> id     uuid
-- -> email  text
-- index: users_issuer_subject_key
SELECT /* accounts/find_outside_user */ id, email
FROM users
WHERE issuer = $1 AND subject = $2
