-- name: list_tasks_after :many
-- The owner's tasks that follow a given task, newest first: the next page of a long list.
-- $1 user_id     uuid
-- $2 created_at  timestamptz
-- $3 task_id     uuid
-- $4 max_rows    bigint
-- -> as tasks/get_task
-- index: tasks_newest_first
-- buffers: 22, grows with the owner's tasks
SELECT /* tasks/list_tasks_after */
    id, user_id, title, description, is_completed, created_at, updated_at,
    due_on, due_time, time_zone, priority, tags, completed_at, version
FROM tasks
WHERE user_id = $1 AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC
LIMIT $4;
