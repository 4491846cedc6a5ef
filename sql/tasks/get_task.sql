-- name: get_task :one
-- One task of the owner.
-- $1 user_id  uuid
-- $2 task_id  uuid
-- -> as tasks/list_tasks
-- index: tasks_pkey
-- buffers: 4
SELECT /* tasks/get_task */
    id, user_id, title, description, is_completed, created_at, updated_at,
    due_on, due_time, time_zone, priority, tags, completed_at
FROM tasks
WHERE user_id = $1 AND id = $2;
