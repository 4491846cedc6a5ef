-- name: delete_user :one
-- Deletes the account, and its tasks by the foreign key, unless tokens were revoked since the password was checked.
-- The counter is locked first, as in the writes of the account itself. Most tasks of a large account are deleted
-- before, by delete_tasks. A user of an outside issuer is remembered: an older token must not create the account again.
-- $1 user_id           uuid
-- $2 token_generation  bigint
-- -> id  uuid
-- index: task_counters_pkey, users_pkey
-- buffers: 118, grows with the owner's tasks
WITH /* accounts/delete_user */ counter AS (
    SELECT user_id
    FROM task_counters
    WHERE user_id = $1
    FOR UPDATE
),

gone AS (
    DELETE FROM users
    USING (SELECT count(*) AS counters FROM counter) AS held
    WHERE users.id = $1 AND users.token_generation = $2
    RETURNING users.id, users.issuer, users.subject
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

SELECT id FROM gone;
