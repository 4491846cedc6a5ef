-- name: create_task :one
-- Creates a task, counts it, and takes the owner's next number for it, in one statement. No row back: the owner has $4
-- tasks, or they are not counted yet.
-- With an id of the client's choice it is run in a transaction, after lock_counter and find_used_id.
-- Creates of one owner wait for each other at the counter's row lock, so the limit is exact. The first create of an
-- owner makes the counter and no task: recount_tasks counts older tasks first. A deleted owner violates
-- task_counters_user_id_fkey. A time zone that the server does not know is error 22023 of timezone().
-- $1 user_id      uuid
-- $2 title        text
-- $3 description  text
-- $4 max_tasks    bigint
-- $5 due_on       date
-- $6 due_time     time
-- $7 time_zone    text
-- $8 priority     smallint
-- $9 tags         jsonb
-- $10 task_id     uuid
-- -> as tasks/get_task
-- index: none
-- buffers: 21
WITH /* tasks/create_task */ counted AS (
    INSERT INTO task_counters (user_id, task_count)
    VALUES ($1, 0)
    ON CONFLICT (user_id) DO UPDATE
        SET task_count = task_counters.task_count + 1, version = task_counters.version + 1
        WHERE task_counters.task_count < $4 AND task_counters.counted_at > '-infinity'
    RETURNING task_count, version
),

-- Not in RETURNING above, where Citus refuses a function that is not immutable.
new_id AS (
    SELECT coalesce($10, gen_random_uuid()) AS task_id
),

created AS (
    INSERT INTO tasks (user_id, id, title, description, due_on, due_time, time_zone, priority, tags, version)
    SELECT
        $1 AS user_id,
        new_id.task_id AS id,
        -- The casts make these parameters text, date and so on. Without them they would have the types of the columns,
        -- which are domains, and the driver would have to look those up on each connection.
        $2::text AS title,
        $3::text AS description,
        $5::date AS due_on,
        $6::time AS due_time,
        $7::text AS time_zone,
        $8::smallint AS priority,
        $9::jsonb AS tags,
        counted.version
    FROM counted
    CROSS JOIN new_id
    WHERE counted.task_count > 0 AND ($7::text IS NULL OR timezone($7, timestamptz 'epoch') IS NOT NULL)
    RETURNING
        id, user_id, title, description, is_completed, created_at, updated_at,
        due_on, due_time, time_zone, priority, tags, completed_at, version
)

SELECT
    id, user_id, title, description, is_completed, created_at, updated_at,
    due_on, due_time, time_zone, priority, tags, completed_at, version
FROM created;
