-- name: reach_tasks :one
-- Whether tasks can be read at all: it waits while somebody holds a lock on the table. Asked for a user who never is.
-- $1 user_id  uuid
-- -> has_tasks  boolean
-- index: tasks_newest_first
SELECT /* health/reach_tasks */ EXISTS(
    SELECT 1
    FROM tasks
    WHERE user_id = $1
) AS has_tasks
