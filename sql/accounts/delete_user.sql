-- name: delete_user :one
-- Deletes the account, and its tasks by the foreign key, unless tokens were revoked since the password was checked.
-- A user of an outside issuer, who has none, is remembered: a token from before must not bring the account back.
-- $1 user_id           uuid
-- $2 token_generation  bigint
-- -> id  uuid
-- index: users_pkey
WITH /* accounts/delete_user */ gone AS (
    DELETE FROM users
    WHERE id = $1 AND token_generation = $2
    RETURNING id, issuer, subject
),

remembered AS (
    INSERT INTO deleted_outside_users (issuer, subject)
    SELECT
        issuer,
        subject
    FROM gone
    WHERE issuer IS NOT NULL
    ON CONFLICT (issuer, subject) DO UPDATE SET deleted_at = excluded.deleted_at
)

SELECT id FROM gone
