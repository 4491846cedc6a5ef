-- name: update_task :one
-- Changes the fields that were sent. Each field has a flag, because NULL alone cannot tell "clear" from "leave".
-- $1 user_id           uuid
-- $2 task_id           uuid
-- $3 set_title         boolean
-- $4 title             text
-- $5 set_description   boolean
-- $6 description       text
-- $7 set_is_completed  boolean
-- $8 is_completed      boolean
-- -> as tasks/list_tasks
-- index: tasks_pkey
-- buffers: 8
UPDATE /* tasks/update_task */ tasks
SET
    title = CASE WHEN $3 THEN $4 ELSE title END,
    description = CASE WHEN $5 THEN $6 ELSE description END,
    is_completed = CASE WHEN $7 THEN $8 ELSE is_completed END,
    updated_at = now()
WHERE user_id = $1 AND id = $2
RETURNING
    id, user_id, title, description, is_completed, created_at, updated_at,
    due_on, due_time, time_zone, priority, tags, completed_at
