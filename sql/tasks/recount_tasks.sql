-- name: recount_tasks :one
-- Counts the owner's tasks, unless they were counted within the last minute: then no row comes back.
-- Asked after a create that found no room: at the first of an owner, and where tasks were written without being
-- counted, as by a release from before the counters. The count changes by the difference that one snapshot shows, so
-- that writes which commit meanwhile stay counted. More than two million tasks count as two million.
-- $1 user_id  uuid
-- -> user_id     uuid
-- -> task_count  bigint
-- index: task_counters_pkey, tasks_pkey
WITH /* tasks/recount_tasks */ seen AS (
    SELECT
        counter.counted_at,
        counter.task_count AS counted,
        -- Names the counter, so that it is run for one that is due and for no other.
        (
            SELECT count(*)
            FROM (
                SELECT tasks.id
                FROM tasks
                WHERE tasks.user_id = $1 AND counter.task_count >= 0
                ORDER BY tasks.id
                LIMIT 2000000
            ) AS some_tasks
        ) AS found
    FROM task_counters AS counter
    WHERE counter.user_id = $1 AND counter.counted_at < now() - interval '1 minute'
)

UPDATE task_counters
SET
    task_count = greatest(task_counters.task_count + seen.found - seen.counted, 0),
    counted_at = now()
FROM seen
WHERE task_counters.user_id = $1 AND task_counters.counted_at = seen.counted_at
RETURNING task_counters.user_id, task_counters.task_count
