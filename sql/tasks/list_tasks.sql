-- name: list_tasks :many
-- The owner's tasks, newest first.
-- $1 user_id   uuid
-- $2 max_rows  bigint
-- -> as tasks/get_task
-- -> list_version  bigint
-- index: task_counters_pkey, tasks_newest_first
-- buffers: 26, grows with the owner's tasks
SELECT /* tasks/list_tasks */
    id, user_id, title, description, is_completed, created_at, updated_at,
    due_on, due_time, time_zone, priority, tags, completed_at, version,
    coalesce(
        (
            SELECT counter.version
            FROM task_counters AS counter
            WHERE counter.user_id = $1
        ),
        0
    ) AS list_version
FROM tasks
WHERE user_id = $1
ORDER BY created_at DESC, id DESC
LIMIT $2;
