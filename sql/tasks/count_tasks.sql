-- name: count_tasks :one
-- The number of the owner's tasks.
-- $1 user_id  uuid
-- -> task_count  bigint
-- index: tasks_newest_first
-- buffers: 4, grows with the owner's tasks
SELECT /* tasks/count_tasks */ count(*) AS task_count
FROM tasks
WHERE user_id = $1;
