-- name: get_task :one
-- One task of the owner.
-- $1 user_id  uuid
-- $2 task_id  uuid
-- -> id            uuid
-- -> user_id       uuid
-- -> title         text
-- -> description   text
-- -> is_completed  boolean
-- -> created_at    timestamptz
-- -> updated_at    timestamptz
-- -> due_on        date
-- -> due_time      time
-- -> time_zone     text
-- -> priority      smallint
-- -> tags          jsonb
-- -> completed_at  timestamptz
-- -> version       bigint
-- index: tasks_pkey
-- buffers: 4
SELECT /* tasks/get_task */
    id, user_id, title, description, is_completed, created_at, updated_at,
    due_on, due_time, time_zone, priority, tags, completed_at, version
FROM tasks
WHERE user_id = $1 AND id = $2;
