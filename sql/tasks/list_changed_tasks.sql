-- name: list_changed_tasks :many
-- The owner's tasks with a number behind $2 and up to $4, in the order of their numbers.
-- Tasks that were last written before migration 0014 all have 0 and are ordered by their ids, which begin behind $3.
-- There is no index on the numbers: all tasks of the owner are looked at.
-- $1 user_id        uuid
-- $2 after_version  bigint
-- $3 after_id       uuid
-- $4 newest         bigint
-- $5 max_rows       bigint
-- -> as tasks/get_task
-- index: tasks_newest_first
-- buffers: 23, grows with the owner's tasks
SELECT /* tasks/list_changed_tasks */
    id, user_id, title, description, is_completed, created_at, updated_at,
    due_on, due_time, time_zone, priority, tags, completed_at, version
FROM tasks
WHERE user_id = $1 AND (version, id) > ($2, $3) AND version <= $4
ORDER BY version, id
LIMIT $5;
