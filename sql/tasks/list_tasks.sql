-- name: list_tasks :many
-- The owner's tasks, newest first.
-- $1 user_id   uuid
-- $2 max_rows  bigint
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
-- index: tasks_newest_first
-- buffers: 23, grows with the owner's tasks
SELECT /* tasks/list_tasks */
    id, user_id, title, description, is_completed, created_at, updated_at,
    due_on, due_time, time_zone, priority, tags, completed_at
FROM tasks
WHERE user_id = $1
ORDER BY created_at DESC, id DESC
LIMIT $2;
