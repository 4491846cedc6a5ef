-- name: reach_tasks :one
-- Readiness check of the table: it waits while the table is locked. Asked for a user id that never exists.
-- $1 user_id  uuid
-- -> has_tasks  boolean
-- index: tasks_newest_first
-- buffers: 3
SELECT /* health/reach_tasks */ EXISTS(
    SELECT 1
    FROM tasks
    WHERE user_id = $1
) AS has_tasks;
