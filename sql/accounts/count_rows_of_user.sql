-- name: count_rows_of_user :one
-- The rows of a user in each table with an owner: a column for each table, which is called in_ and the table's name.
-- `user erase` shows it, and refuses a table of sql/tables.md that has an owner and no column here.
-- $1 user_id  uuid
-- -> in_users             bigint
-- -> in_tasks             bigint
-- -> in_task_counters     bigint
-- -> in_deleted_tasks     bigint
-- -> in_idempotency_keys  bigint
-- index: users_pkey, tasks_newest_first, task_counters_pkey, deleted_tasks_version_key, idempotency_keys_pkey
-- buffers: 16, grows with the owner's tasks
WITH /* accounts/count_rows_of_user */ of_users AS (
    SELECT count(*) AS row_count
    FROM users
    WHERE id = $1
),

of_tasks AS (
    SELECT count(*) AS row_count
    FROM tasks
    WHERE user_id = $1
),

of_task_counters AS (
    SELECT count(*) AS row_count
    FROM task_counters
    WHERE user_id = $1
),

of_deleted_tasks AS (
    SELECT count(*) AS row_count
    FROM deleted_tasks
    WHERE user_id = $1
),

of_idempotency_keys AS (
    SELECT count(*) AS row_count
    FROM idempotency_keys
    WHERE user_id = $1
)

SELECT
    of_users.row_count AS in_users,
    of_tasks.row_count AS in_tasks,
    of_task_counters.row_count AS in_task_counters,
    of_deleted_tasks.row_count AS in_deleted_tasks,
    of_idempotency_keys.row_count AS in_idempotency_keys
FROM of_users
CROSS JOIN of_tasks
CROSS JOIN of_task_counters
CROSS JOIN of_deleted_tasks
CROSS JOIN of_idempotency_keys;
