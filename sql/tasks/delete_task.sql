-- name: delete_task :one
-- Deletes one task of the owner. No row back means there was none.
-- $1 user_id  uuid
-- $2 task_id  uuid
-- -> id       uuid
-- -> user_id  uuid
-- index: tasks_pkey
DELETE /* tasks/delete_task */ FROM tasks
WHERE user_id = $1 AND id = $2
RETURNING id, user_id
