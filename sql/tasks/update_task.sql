-- name: update_task :one
-- Changes the fields that were sent, and takes the owner's next number for the task. Each field has a flag, because
-- NULL alone cannot tell "clear" from "leave". No row back: there is no such task, or its version is none of $19.
-- $1 user_id           uuid
-- $2 task_id           uuid
-- $3 set_title         boolean
-- $4 title             text
-- $5 set_description   boolean
-- $6 description       text
-- $7 set_is_completed  boolean
-- $8 is_completed      boolean
-- $9 set_due_on        boolean
-- $10 due_on           date
-- $11 set_due_time     boolean
-- $12 due_time         time
-- $13 set_time_zone    boolean
-- $14 time_zone        text
-- $15 set_priority     boolean
-- $16 priority         smallint
-- $17 set_tags         boolean
-- $18 tags             jsonb
-- $19 versions         text[]
-- -> as tasks/get_task
-- index: tasks_pkey
-- buffers: 20
WITH /* tasks/update_task */ counter AS (
    -- A miss takes no number, unless another write got ahead of it. The counter is locked before the task, as in every
    -- statement that needs both: the UPDATE then sees what the writes before it have left.
    -- A time zone that the server does not know is error 22023 of timezone().
    INSERT INTO task_counters (user_id, task_count, version)
    SELECT
        $1 AS user_id,
        0 AS task_count,
        1 AS version
    FROM tasks
    WHERE
        user_id = $1
        AND id = $2
        AND ($19::text[] IS NULL OR version = any($19::text[]::bigint[]))
        AND ($14::text IS NULL OR timezone($14, timestamptz 'epoch') IS NOT NULL)
    ON CONFLICT (user_id) DO UPDATE SET version = task_counters.version + 1
    RETURNING version
),

changed AS (
    UPDATE tasks
    SET
        title = CASE WHEN $3 THEN $4 ELSE title END,
        description = CASE WHEN $5 THEN $6 ELSE description END,
        is_completed = CASE WHEN $7 THEN $8 ELSE is_completed END,
        due_on = CASE WHEN $9 THEN $10 ELSE due_on END,
        due_time = CASE WHEN $11 THEN $12 ELSE due_time END,
        time_zone = CASE WHEN $13 THEN $14 ELSE time_zone END,
        priority = CASE WHEN $15 THEN $16 ELSE priority END,
        tags = CASE WHEN $17 THEN $18 ELSE tags END,
        -- Kept while the task stays completed, updated_at when it becomes so, else NULL: greatest() ignores NULLs.
        -- Citus refuses now() inside of CASE, and STABLE functions of a column: timestamptz plus an interval is one.
        completed_at = greatest(
            CASE
                WHEN is_completed AND ($8 OR NOT $7) THEN completed_at
                WHEN $7 AND $8 THEN (updated_at AT TIME ZONE 'UTC' + interval '1 microsecond') AT TIME ZONE 'UTC'
            END,
            now() + CASE WHEN $7 AND $8 AND NOT is_completed THEN interval '0' END
        ),
        -- now() is from before the wait for the counter, and the write before this one may have begun later.
        updated_at = greatest(now(), (updated_at AT TIME ZONE 'UTC' + interval '1 microsecond') AT TIME ZONE 'UTC'),
        version = counter.version
    FROM counter
    WHERE tasks.user_id = $1 AND tasks.id = $2 AND ($19::text[] IS NULL OR tasks.version = any($19::text[]::bigint[]))
    RETURNING
        tasks.id, tasks.user_id, tasks.title, tasks.description, tasks.is_completed, tasks.created_at,
        tasks.updated_at, tasks.due_on, tasks.due_time, tasks.time_zone, tasks.priority, tasks.tags,
        tasks.completed_at, tasks.version
)

SELECT
    id, user_id, title, description, is_completed, created_at, updated_at,
    due_on, due_time, time_zone, priority, tags, completed_at, version
FROM changed;
