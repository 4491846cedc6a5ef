-- name: delete_task :one
-- Deletes one task of the owner and lowers the count. Its id stays in deleted_tasks for $4 days, under the owner's next
-- number.
-- No row back: there is no such task, or its version is none of $3. That takes no number.
-- The counter is locked before the task, as in every statement that needs both. An owner without one has not written
-- since migration 0009; it is made here, and the tasks are counted at the next create.
-- $1 user_id   uuid
-- $2 task_id   uuid
-- $3 versions  text[]
-- $4 kept_days  integer
-- -> id       uuid
-- -> user_id  uuid
-- index: task_counters_pkey, tasks_pkey
-- buffers: 31
WITH /* tasks/delete_task */ counter AS (
    SELECT user_id
    FROM task_counters
    WHERE user_id = $1
    FOR NO KEY UPDATE
),

gone AS (
    DELETE FROM tasks
    USING (SELECT count(*) AS counters FROM counter) AS held
    WHERE tasks.user_id = $1 AND tasks.id = $2 AND ($3::text[] IS NULL OR tasks.version = any($3::text[]::bigint[]))
    RETURNING tasks.id, tasks.user_id
),

uncounted AS (
    INSERT INTO task_counters (user_id, task_count, version)
    SELECT
        $1 AS user_id,
        0 AS task_count,
        1 AS version
    FROM gone
    ON CONFLICT (user_id) DO UPDATE
        SET task_count = greatest(task_counters.task_count - 1, 0), version = task_counters.version + 1
    RETURNING version
),

remembered AS (
    INSERT INTO deleted_tasks (user_id, task_id, version, forget_at)
    SELECT
        $1 AS user_id,
        gone.id,
        uncounted.version,
        now() + make_interval(days => $4) AS forget_at
    FROM gone
    CROSS JOIN uncounted
)

SELECT id, user_id
FROM gone;
