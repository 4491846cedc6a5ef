-- name: create_task :one
-- A new task of the owner, counted in the same statement.
-- $1 user_id      uuid
-- $2 title        text
-- $3 description  text
-- $4 max_tasks    bigint
-- -> id            uuid
-- -> user_id       uuid
-- -> title         text
-- -> description   text
-- -> is_completed  boolean
-- -> created_at    timestamptz
-- -> updated_at    timestamptz
-- index: none
WITH /* tasks/create_task */ counted AS (
    INSERT INTO task_counters (user_id, task_count)
    VALUES ($1, 0)
    ON CONFLICT (user_id) DO UPDATE
        SET task_count = task_counters.task_count + 1
        WHERE task_counters.task_count < $4
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
