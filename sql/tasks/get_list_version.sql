-- name: get_list_version :one
-- The highest number of the owner: that of the newest write to any task. 0 before the first. No row back: no such user.
-- $1 user_id  uuid
-- -> user_id       uuid
-- -> list_version  bigint
-- index: users_pkey, task_counters_pkey
-- buffers: 6
SELECT /* tasks/get_list_version */
    users.id AS user_id,
    coalesce(
        (
            SELECT counter.version
            FROM task_counters AS counter
            WHERE counter.user_id = $1
        ),
        0
    ) AS list_version
FROM users
WHERE users.id = $1;
