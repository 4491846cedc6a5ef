-- name: forget_deleted_tasks :one
-- Looks at the next 10 000 ids of deleted tasks, and deletes those that no cursor of changes can need any more. The
-- caller begins with zeros, and repeats it with what it returns. It goes along the primary key: an index in the order
-- of forget_at would be one more to write for each deletion.
-- Takes no lock in the SELECT: Citus takes none on several nodes at once.
-- across owners: ids of all users expire alike; run now and then by the service, without any value of a request
-- $1 after_user_id  uuid
-- $2 after_task_id  uuid
-- -> deleted        bigint
-- -> after_user_id  uuid
-- -> after_task_id  uuid
-- The values for the next call. NULL: the table ends here.
-- index: deleted_tasks_pkey
WITH /* maintenance/forget_deleted_tasks */ seen AS (
    SELECT
        user_id,
        task_id,
        forget_at,
        row_number() OVER (ORDER BY user_id, task_id) AS place
    FROM deleted_tasks
    WHERE (user_id, task_id) > ($1, $2)
    ORDER BY user_id, task_id
    LIMIT 10000
),

gone AS (
    DELETE FROM deleted_tasks
    USING seen
    WHERE
        deleted_tasks.user_id = seen.user_id
        AND deleted_tasks.task_id = seen.task_id
        AND seen.forget_at < now()
    RETURNING deleted_tasks.task_id
)

SELECT
    counted.deleted,
    last_seen.user_id AS after_user_id,
    last_seen.task_id AS after_task_id
FROM (SELECT count(*) AS deleted FROM gone) AS counted
LEFT JOIN seen AS last_seen ON last_seen.place = 10000;
