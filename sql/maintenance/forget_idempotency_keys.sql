-- name: forget_idempotency_keys :one
-- Looks at the next 10 000 idempotency keys, and deletes those whose time is over, with their answers. The caller
-- begins with zeros and an empty key, and repeats it with what it returns, as with forget_deleted_tasks.
-- Takes no lock in the SELECT: Citus takes none on several nodes at once.
-- across owners: keys of all users expire alike; run now and then by the service, without any value of a request
-- $1 after_user_id  uuid
-- $2 after_key      text
-- -> deleted        bigint
-- -> after_user_id  uuid
-- -> after_key      text
-- The values for the next call. NULL: the table ends here.
-- index: idempotency_keys_pkey
WITH /* maintenance/forget_idempotency_keys */ seen AS (
    SELECT
        user_id,
        key,
        forget_at,
        row_number() OVER (ORDER BY user_id, key) AS place
    FROM idempotency_keys
    WHERE (user_id, key) > ($1, $2)
    ORDER BY user_id, key
    LIMIT 10000
),

gone AS (
    DELETE FROM idempotency_keys
    USING seen
    WHERE
        idempotency_keys.user_id = seen.user_id
        AND idempotency_keys.key = seen.key
        AND seen.forget_at < now()
        -- Asked again of the row itself: a key may have been given a new answer meanwhile.
        AND idempotency_keys.forget_at < now()
    RETURNING idempotency_keys.key
)

SELECT
    counted.deleted,
    last_seen.user_id AS after_user_id,
    last_seen.key AS after_key
FROM (SELECT count(*) AS deleted FROM gone) AS counted
LEFT JOIN seen AS last_seen ON last_seen.place = 10000;
