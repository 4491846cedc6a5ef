-- name: recount_tasks :one
-- Counts the owner's tasks again. No row back: they were counted within the last minute.
-- Run after a create that found no room: at the first create of an owner, and where tasks were written without being
-- counted, for example by a release without counters. It adds the difference seen in one snapshot, so writes that
-- commit meanwhile stay counted, except a deletion at a count of 0. More than two million tasks count as two million.
-- $1 user_id  uuid
-- -> user_id     uuid
-- -> task_count  bigint
-- index: task_counters_pkey, tasks_pkey
-- buffers: 15, grows with the owner's tasks
WITH /* tasks/recount_tasks */ seen AS (
    SELECT
        counter.counted_at,
        counter.task_count AS counted,
        -- Refers to the counter, so that it only runs for a counter that is due.
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
RETURNING task_counters.user_id, task_counters.task_count;
