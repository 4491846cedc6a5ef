-- name: write_batch :many
-- Creates, changes and deletes several tasks of the owner: all, or none if a row back has a refusal. A row for each
-- operation, with its task as it is now, and the number that it takes: the owner's next ones, in their order. Where
-- nothing is done only an operation that is refused as `changed` has its task.
-- It is run after lock_counter, which keeps other writes of the owner away: what is judged is what is written. A time
-- zone that the server does not know is error 22023 of timezone().
-- $1 user_id     uuid
-- $2 operations  jsonb
-- An operation is {place: 1 to n without a gap, op, task_id, version or null, fields}; an id stands in one of them.
-- $3 time_zone   text[]
-- $4 max_tasks   bigint
-- $5 kept_days   integer
-- -> as tasks/get_task
-- -> place       integer
-- -> new_version bigint
-- -> refusal     text
-- index: tasks_pkey, task_counters_pkey, deleted_tasks_pkey
-- buffers: 42
WITH /* tasks/write_batch */ operations AS (
    SELECT
        given.place,
        given.op,
        given.task_id,
        given.version,
        given.fields
    FROM jsonb_to_recordset($2) AS given (place integer, op text, task_id uuid, version bigint, fields jsonb)
),

-- The tags of each operation that sends some: the first of those that differ in case alone.
given_tags AS (
    SELECT
        first_tags.place,
        jsonb_agg(first_tags.tag ORDER BY first_tags.tag_place) AS tags
    FROM (
        SELECT
            operations.place,
            (array_agg(given.tag ORDER BY given.tag_place))[1] AS tag,
            min(given.tag_place) AS tag_place
        FROM operations
        CROSS JOIN
            LATERAL jsonb_array_elements_text(operations.fields -> 'tags') WITH ORDINALITY AS given (tag, tag_place)
        GROUP BY operations.place, lower(given.tag)
    ) AS first_tags
    GROUP BY first_tags.place
),

-- The tasks as they are to be. A field that is not in `fields` stays as it is, and JSON's null in it is NULL. LATERAL
-- and its LIMIT make one look into the primary key for each, here and below, as in get_tasks.
wanted AS (
    SELECT
        operations.place,
        operations.op,
        operations.task_id,
        operations.version AS expected_version,
        found.id AS found_id,
        found.version AS found_version,
        CASE WHEN operations.fields ? 'title' THEN operations.fields ->> 'title' ELSE found.title END AS title,
        CASE
            WHEN operations.fields ? 'description' THEN operations.fields ->> 'description' ELSE found.description
        END AS description,
        coalesce((operations.fields ->> 'is_completed')::boolean, found.is_completed, FALSE) AS is_completed,
        CASE
            WHEN operations.fields ? 'due_on' THEN (operations.fields ->> 'due_on')::date ELSE found.due_on
        END AS due_on,
        CASE
            WHEN operations.fields ? 'due_time' THEN (operations.fields ->> 'due_time')::time ELSE found.due_time
        END AS due_time,
        CASE
            WHEN operations.fields ? 'time_zone' THEN operations.fields ->> 'time_zone' ELSE found.time_zone
        END AS time_zone,
        coalesce((operations.fields ->> 'priority')::smallint, found.priority, 0::smallint) AS priority,
        coalesce(given_tags.tags, CASE WHEN NOT operations.fields ? 'tags' THEN found.tags END, '[]') AS tags
    FROM operations
    LEFT JOIN given_tags ON operations.place = given_tags.place
    LEFT JOIN LATERAL (
        SELECT
            tasks.id, tasks.title, tasks.description, tasks.is_completed, tasks.due_on, tasks.due_time,
            tasks.time_zone, tasks.priority, tasks.tags, tasks.version
        FROM tasks
        WHERE tasks.user_id = $1 AND tasks.id = operations.task_id
        ORDER BY tasks.id
        LIMIT 1
    ) AS found ON TRUE
),

counts AS (
    SELECT
        wanted.place,
        task_counters.version + wanted.place AS new_version,
        task_counters.counted_at > '-infinity' AS is_counted,
        CASE wanted.op WHEN 'create' THEN 1 WHEN 'delete' THEN -1 ELSE 0 END AS count_change,
        task_counters.task_count + sum(CASE wanted.op WHEN 'create' THEN 1 WHEN 'delete' THEN -1 ELSE 0 END)
            OVER (ORDER BY wanted.place) AS task_count
    FROM wanted
    INNER JOIN task_counters ON task_counters.user_id = $1
),

judged AS (
    SELECT
        wanted.place,
        CASE
            WHEN tombstone.task_id IS NOT NULL THEN 'deleted'
            WHEN wanted.op = 'create' AND wanted.found_id IS NOT NULL THEN 'changed'
            WHEN wanted.op <> 'create' AND wanted.found_id IS NULL THEN 'missing'
            WHEN wanted.expected_version <> wanted.found_version THEN 'changed'
            WHEN wanted.op = 'delete' THEN NULL
            -- The CHECKs of tasks refuse the whole statement, and do not say for which operation.
            WHEN wanted.due_time IS NOT NULL AND wanted.due_on IS NULL THEN 'due_time'
            WHEN wanted.time_zone IS NOT NULL AND wanted.due_time IS NULL THEN 'time_zone'
            WHEN wanted.op = 'create' AND NOT (counts.is_counted AND counts.task_count <= $4) THEN 'quota'
        END AS refusal
    FROM wanted
    INNER JOIN counts ON wanted.place = counts.place
    LEFT JOIN LATERAL (
        SELECT deleted_tasks.task_id
        FROM deleted_tasks
        WHERE deleted_tasks.user_id = $1 AND deleted_tasks.task_id = wanted.task_id
        ORDER BY deleted_tasks.task_id
        LIMIT 1
    ) AS tombstone ON wanted.op = 'create'
),

known_zones AS (
    SELECT count(timezone(zone, timestamptz 'epoch')) AS zone_count
    FROM unnest($3::text[]) AS given (zone)
),

-- One row if nothing is refused, else none: each write below needs it.
accepted AS (
    SELECT
        count(*) AS operation_count,
        sum(counts.count_change) AS count_change
    FROM judged
    INNER JOIN counts ON judged.place = counts.place
    CROSS JOIN known_zones
    HAVING count(judged.refusal) = 0 AND min(known_zones.zone_count) >= 0
),

created AS (
    INSERT INTO tasks (user_id, id, title, description, due_on, due_time, time_zone, priority, tags, version)
    SELECT
        $1 AS user_id,
        wanted.task_id AS id,
        wanted.title,
        wanted.description,
        wanted.due_on,
        wanted.due_time,
        wanted.time_zone,
        wanted.priority,
        wanted.tags,
        counts.new_version AS version
    FROM wanted
    INNER JOIN counts ON wanted.place = counts.place
    CROSS JOIN accepted
    WHERE wanted.op = 'create'
    RETURNING
        id, user_id, title, description, is_completed, created_at, updated_at,
        due_on, due_time, time_zone, priority, tags, completed_at, version
),

changed AS (
    UPDATE tasks
    SET
        title = wanted.title,
        description = wanted.description,
        is_completed = wanted.is_completed,
        due_on = wanted.due_on,
        due_time = wanted.due_time,
        time_zone = wanted.time_zone,
        priority = wanted.priority,
        tags = wanted.tags,
        -- As in update_task.
        completed_at = greatest(
            CASE
                WHEN tasks.is_completed AND wanted.is_completed THEN tasks.completed_at
                WHEN wanted.is_completed
                    THEN (tasks.updated_at AT TIME ZONE 'UTC' + interval '1 microsecond') AT TIME ZONE 'UTC'
            END,
            now() + CASE WHEN wanted.is_completed AND NOT tasks.is_completed THEN interval '0' END
        ),
        updated_at = greatest(
            now(), (tasks.updated_at AT TIME ZONE 'UTC' + interval '1 microsecond') AT TIME ZONE 'UTC'
        ),
        version = counts.new_version
    FROM wanted
    INNER JOIN counts ON wanted.place = counts.place
    CROSS JOIN accepted
    WHERE tasks.user_id = $1 AND tasks.id = wanted.task_id AND wanted.op = 'update'
    RETURNING
        tasks.id, tasks.user_id, tasks.title, tasks.description, tasks.is_completed, tasks.created_at,
        tasks.updated_at, tasks.due_on, tasks.due_time, tasks.time_zone, tasks.priority, tasks.tags,
        tasks.completed_at, tasks.version
),

gone AS (
    DELETE FROM tasks
    USING wanted CROSS JOIN accepted
    WHERE tasks.user_id = $1 AND tasks.id = wanted.task_id AND wanted.op = 'delete'
    RETURNING tasks.id, wanted.place
),

remembered AS (
    INSERT INTO deleted_tasks (user_id, task_id, version, forget_at)
    SELECT
        $1 AS user_id,
        gone.id,
        counts.new_version,
        now() + make_interval(days => $5) AS forget_at
    FROM gone
    INNER JOIN counts ON gone.place = counts.place
),

counted AS (
    UPDATE task_counters
    SET
        task_count = greatest(task_counters.task_count + accepted.count_change, 0),
        version = task_counters.version + accepted.operation_count
    FROM accepted
    WHERE task_counters.user_id = $1
),

answered AS (
    SELECT
        id, user_id, title, description, is_completed, created_at, updated_at,
        due_on, due_time, time_zone, priority, tags, completed_at, version
    FROM created
    UNION ALL
    SELECT
        id, user_id, title, description, is_completed, created_at, updated_at,
        due_on, due_time, time_zone, priority, tags, completed_at, version
    FROM changed
    UNION ALL
    SELECT
        found.id, found.user_id, found.title, found.description, found.is_completed, found.created_at, found.updated_at,
        found.due_on, found.due_time, found.time_zone, found.priority, found.tags, found.completed_at, found.version
    FROM judged
    INNER JOIN wanted ON judged.place = wanted.place
    INNER JOIN LATERAL (
        SELECT
            tasks.id, tasks.user_id, tasks.title, tasks.description, tasks.is_completed, tasks.created_at,
            tasks.updated_at, tasks.due_on, tasks.due_time, tasks.time_zone, tasks.priority, tasks.tags,
            tasks.completed_at, tasks.version
        FROM tasks
        WHERE tasks.user_id = $1 AND tasks.id = wanted.task_id
        ORDER BY tasks.id
        LIMIT 1
    ) AS found ON TRUE
    WHERE judged.refusal = 'changed'
)

SELECT
    answered.id, answered.user_id, answered.title, answered.description, answered.is_completed, answered.created_at,
    answered.updated_at, answered.due_on, answered.due_time, answered.time_zone, answered.priority, answered.tags,
    answered.completed_at, answered.version, counts.place, counts.new_version, judged.refusal
FROM judged
INNER JOIN counts ON judged.place = counts.place
INNER JOIN wanted ON judged.place = wanted.place
LEFT JOIN answered ON wanted.task_id = answered.id
ORDER BY counts.place;
