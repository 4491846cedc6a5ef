-- name: find_credentials :one
-- The account of an email, to check the password at a login. The known networks are in hexadecimal.
-- $1 email  text
-- -> id                uuid
-- -> email             text
-- -> created_at        timestamptz
-- -> token_generation  bigint
-- -> password_hash     text
-- -> known_networks    text[]
-- index: users_email_key
-- buffers: 3
SELECT /* accounts/find_credentials */
    id,
    email,
    created_at,
    token_generation,
    password_hash,
    array(
        SELECT encode(known.network, 'hex')
        FROM unnest(known_networks) WITH ORDINALITY AS known (network, place)
        ORDER BY known.place
    ) AS known_networks
FROM users
WHERE email = $1 AND password_hash IS NOT NULL;
