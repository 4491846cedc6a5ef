-- name: delete_task :one
-- Deletes one task of the owner and lowers the counter, in one statement. No row back: there is no such task.
-- The counter is locked before the task, as in every statement that needs both. An account without a counter gets one,
-- with its tasks counted, at its next create.
-- $1 user_id  uuid
-- $2 task_id  uuid
-- -> id       uuid
-- -> user_id  uuid
-- index: task_counters_pkey, tasks_pkey
-- buffers: 19
WITH /* tasks/delete_task */ counter AS (
    SELECT user_id
    FROM task_counters
    WHERE user_id = $1
    FOR NO KEY UPDATE
),

gone AS (
    DELETE FROM tasks
    USING (SELECT count(*) AS counters FROM counter) AS held
    WHERE tasks.user_id = $1 AND tasks.id = $2
    RETURNING tasks.id, tasks.user_id
),

uncounted AS (
    UPDATE task_counters
    SET task_count = greatest(task_counters.task_count - 1, 0)
    FROM gone
    WHERE task_counters.user_id = $1
)

SELECT id, user_id
FROM gone;
