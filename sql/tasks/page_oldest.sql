-- name: page_oldest :many
-- A page of the owner's tasks, oldest first, otherwise as tasks/page_newest. The first page is behind '-infinity'.
-- Tasks with the same created_at come with the highest id first, as in every list. The index has them the other way
-- round, so they are sorted for each page. All others come in the index's order.
-- $1 user_id           uuid
-- $2 is_completed      boolean
-- $3 priority          smallint
-- $4 due_from          date
-- $5 due_to            date
-- $6 tags              text
-- $7 search            text
-- $8 with_texts        boolean
-- $9 max_rows          bigint
-- $10 after_created_at timestamptz
-- $11 after_id         uuid
-- -> as tasks/get_task
-- -> list_version     bigint
-- index: task_counters_pkey, tasks_newest_first
-- buffers: 26, grows with the owner's tasks
SELECT /* tasks/page_oldest */
    id, user_id,
    CASE WHEN $8 THEN title END AS title,
    CASE WHEN $8 THEN description END AS description,
    is_completed, created_at, updated_at, due_on, due_time, time_zone, priority,
    CASE WHEN $8 THEN tags END AS tags,
    completed_at, version,
    coalesce(
        (
            SELECT counter.version
            FROM task_counters AS counter
            WHERE counter.user_id = $1
        ),
        0
    ) AS list_version
FROM tasks
WHERE
    user_id = $1
    AND created_at >= $10
    AND (created_at > $10 OR id < $11)
    AND coalesce(
        ($2::boolean IS NULL OR is_completed = $2)
        AND ($3::smallint IS NULL OR priority = $3)
        AND ($4::date IS NULL OR due_on >= $4)
        AND ($5::date IS NULL OR due_on <= $5)
        AND ($6::text IS NULL OR lower(tags::text)::jsonb @> lower($6)::jsonb)
        AND (
            $7::text IS NULL
            OR strpos(lower(title), lower($7)) > 0
            OR strpos(lower(description), lower($7)) > 0
        ),
        FALSE
    )
ORDER BY created_at ASC, id DESC
LIMIT $9;
