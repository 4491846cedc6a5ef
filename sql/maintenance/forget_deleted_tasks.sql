-- name: forget_deleted_tasks :one
-- Deletes the ids of deleted tasks that no cursor of changes can need any more, 10 000 at the most. The caller repeats
-- it.
-- Takes no lock in the SELECT: on Citus each node runs it on its own rows.
-- across owners: ids of all users expire alike; run now and then by the service, without any value of a request
-- -> deleted  bigint
-- index: deleted_tasks_pkey
WITH /* maintenance/forget_deleted_tasks */ gone AS (
    DELETE FROM deleted_tasks
    WHERE
        forget_at < now()
        AND (user_id, task_id) IN (
            SELECT
                stale.user_id,
                stale.task_id
            FROM deleted_tasks AS stale
            WHERE stale.forget_at < now()
            ORDER BY stale.forget_at, stale.user_id, stale.task_id
            LIMIT 10000
        )
    RETURNING task_id
)

SELECT count(*) AS deleted FROM gone;
