-- name: get_history :one
-- Checks a cursor of changes: the owner's highest number, the number up to which deletions may be missing in
-- deleted_tasks, and the history that the numbers belong to.
-- No row back: no such user.
-- $1 user_id  uuid
-- -> user_id         uuid
-- -> list_version    bigint
-- -> untold_version  bigint
-- -> history_id      uuid
-- index: users_pkey, task_counters_pkey
-- buffers: 7
SELECT /* tasks/get_history */
    users.id AS user_id,
    coalesce(counter.version, 0) AS list_version,
    coalesce(counter.untold_version, 0) AS untold_version,
    histories.id AS history_id
FROM users
LEFT JOIN task_counters AS counter ON counter.user_id = $1
CROSS JOIN histories
WHERE users.id = $1;
