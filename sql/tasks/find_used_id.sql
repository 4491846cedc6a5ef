-- name: find_used_id :one
-- Whether the owner has a task with this id, or has deleted one, which is known for CHANGES_DAYS. No row back: neither.
-- $1 user_id  uuid
-- $2 task_id  uuid
-- -> user_id     uuid
-- -> is_deleted  boolean
-- index: tasks_pkey, deleted_tasks_pkey
-- buffers: 8
SELECT /* tasks/find_used_id */
    user_id,
    FALSE AS is_deleted
FROM tasks
WHERE user_id = $1 AND id = $2
UNION ALL
SELECT
    user_id,
    TRUE AS is_deleted
FROM deleted_tasks
WHERE user_id = $1 AND task_id = $2;
