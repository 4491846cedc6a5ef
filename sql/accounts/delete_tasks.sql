-- name: delete_tasks :one
-- Deletes the next $4 tasks of an account, in the order of their ids after $3, and returns the last id.
-- No row back: fewer than $4 are left, which delete_user deletes with the account, or tokens were revoked since the
-- password was checked. The caller repeats it until then, so that an account with millions of tasks is deleted in short
-- statements. A repeated deletion continues where an interrupted one stopped. The tasks leave nothing in deleted_tasks:
-- untold_version says so to get_history.
-- $1 user_id           uuid
-- $2 token_generation  bigint
-- $3 after_id          uuid
-- $4 max_tasks         bigint
-- -> id  uuid
-- index: task_counters_pkey, tasks_pkey, users_pkey
-- buffers: 4, grows with the owner's tasks
WITH /* accounts/delete_tasks */ counter AS (
    SELECT user_id
    FROM task_counters
    WHERE user_id = $1
    FOR NO KEY UPDATE
),

held AS (
    SELECT count(*) AS counters
    FROM counter
),

piece AS (
    SELECT
        id,
        row_number() OVER (ORDER BY id) AS place
    FROM tasks
    WHERE user_id = $1 AND id > $3
    ORDER BY id
    LIMIT $4
),

last_of_piece AS (
    SELECT piece.id
    FROM piece
    INNER JOIN users ON users.id = $1 AND users.token_generation = $2
    CROSS JOIN held
    WHERE piece.place = $4
),

gone AS (
    DELETE FROM tasks
    USING last_of_piece
    WHERE tasks.user_id = $1 AND tasks.id > $3 AND tasks.id <= last_of_piece.id
    RETURNING tasks.user_id
),

uncounted AS (
    -- A new counter says nothing yet of the tasks that are left: they are counted at the next create.
    INSERT INTO task_counters (user_id, task_count, version, untold_version)
    SELECT
        $1 AS user_id,
        deleted.task_count,
        1 AS version,
        1 AS untold_version
    FROM (SELECT count(*) AS task_count FROM gone) AS deleted
    WHERE deleted.task_count > 0
    ON CONFLICT (user_id) DO UPDATE
        SET
            task_count = greatest(task_counters.task_count - excluded.task_count, 0),
            version = task_counters.version + 1,
            untold_version = task_counters.version + 1
)

SELECT id FROM last_of_piece;
