-- name: keep_answer :one
-- Keeps the answer to a request with an idempotency key for $5 hours, in the transaction of its write, and adds its
-- bytes to the owner's window. Replaces an older answer of this key, which find_answer did not return.
-- $1 user_id         uuid
-- $2 key             text
-- $3 request_digest  bytea
-- $4 answer          text
-- $5 kept_hours      integer
-- $6 begins_window   boolean
-- -> user_id  uuid
-- index: task_counters_pkey
-- buffers: 19
WITH /* tasks/keep_answer */ counter AS (
    UPDATE task_counters
    SET
        kept_bytes = octet_length($4) + CASE WHEN $6 THEN 0 ELSE kept_bytes END,
        -- now() stands outside of CASE, because Citus refuses it inside. greatest() ignores NULLs.
        kept_until = greatest(kept_until, now() + CASE WHEN $6 THEN make_interval(hours => $5) END)
    WHERE user_id = $1
    RETURNING user_id
),

kept AS (
    INSERT INTO idempotency_keys (user_id, key, request_digest, answer, forget_at)
    SELECT
        $1 AS user_id,
        $2 AS key,
        $3 AS request_digest,
        $4 AS answer,
        now() + make_interval(hours => $5) AS forget_at
    FROM counter
    ON CONFLICT (user_id, key) DO UPDATE
        SET request_digest = excluded.request_digest, answer = excluded.answer, forget_at = excluded.forget_at
)

SELECT user_id
FROM counter;
