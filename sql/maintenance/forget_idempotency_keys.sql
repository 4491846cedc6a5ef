-- name: forget_idempotency_keys :one
-- Deletes idempotency keys whose time is over, with their answers, 10 000 at the most. The caller repeats it.
-- Takes no lock in the SELECT: on Citus each node runs it on its own rows.
-- across owners: keys of all users expire alike; run now and then by the service, without any value of a request
-- -> deleted  bigint
-- index: idempotency_keys_pkey
WITH /* maintenance/forget_idempotency_keys */ gone AS (
    DELETE FROM idempotency_keys
    WHERE
        forget_at < now()
        AND (user_id, key) IN (
            SELECT
                stale.user_id,
                stale.key
            FROM idempotency_keys AS stale
            WHERE stale.forget_at < now()
            ORDER BY stale.forget_at, stale.user_id, stale.key
            LIMIT 10000
        )
    RETURNING user_id
)

SELECT count(*) AS deleted FROM gone;
