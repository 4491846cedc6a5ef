-- name: get_tasks :many
-- Some of the owner's tasks in the order of the given ids: a piece of a long page. Deleted ones are left out.
-- LATERAL and its LIMIT make one look into the primary key of each. For id = ANY($2) the planner may read all tasks of
-- the owner.
-- $1 user_id   uuid
-- $2 task_ids  text[]
-- -> as tasks/get_task
-- index: tasks_pkey
-- buffers: 4
SELECT /* tasks/get_tasks */
    found.id, found.user_id, found.title, found.description, found.is_completed, found.created_at, found.updated_at,
    found.due_on, found.due_time, found.time_zone, found.priority, found.tags, found.completed_at,
    found.version
FROM
    unnest($2::text[]::uuid[]) WITH ORDINALITY AS wanted (id),
    LATERAL (
        SELECT
            tasks.id, tasks.user_id, tasks.title, tasks.description, tasks.is_completed, tasks.created_at,
            tasks.updated_at, tasks.due_on, tasks.due_time, tasks.time_zone, tasks.priority, tasks.tags,
            tasks.completed_at, tasks.version
        FROM tasks
        WHERE tasks.user_id = $1 AND tasks.id = wanted.id
        ORDER BY tasks.id
        LIMIT 1
    ) AS found
ORDER BY wanted.ordinality
LIMIT 1000;
