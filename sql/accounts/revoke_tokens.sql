-- name: revoke_tokens :one
-- Revokes all tokens issued until now: own tokens by their generation, those of outside issuers by their issue time.
-- $1 user_id  uuid
-- -> id  uuid
-- index: users_pkey
-- buffers: 16
UPDATE /* accounts/revoke_tokens */ users
SET
    token_generation = token_generation + 1,
    tokens_revoked_at = now(),
    updated_at = now()
WHERE id = $1
RETURNING id;
