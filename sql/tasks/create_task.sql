-- name: create_task :one
-- A new task of the owner, counted in the same statement. No row back: no room below $4, or not counted yet.
-- The lock on the counter's row lets one create of an owner through at a time, so the limit is exact. The first create
-- of an owner makes the counter and no task: there may be tasks from before, and recount_tasks counts them first.
-- An owner who is gone violates task_counters_user_id_fkey.
-- $1 user_id      uuid
-- $2 title        text
-- $3 description  text
-- $4 max_tasks    bigint
-- -> as tasks/list_tasks
-- index: none
WITH /* tasks/create_task */ counted AS (
    INSERT INTO task_counters (user_id, task_count)
    VALUES ($1, 0)
    ON CONFLICT (user_id) DO UPDATE
        SET task_count = task_counters.task_count + 1
        WHERE task_counters.task_count < $4 AND task_counters.counted_at > '-infinity'
    RETURNING task_count
),

created AS (
    INSERT INTO tasks (user_id, title, description)
    SELECT
        $1 AS user_id,
        $2 AS title,
        $3 AS description
    FROM counted
    WHERE task_count > 0
    RETURNING id, user_id, title, description, is_completed, created_at, updated_at
)

SELECT id, user_id, title, description, is_completed, created_at, updated_at
FROM created
