-- name: find_answer :one
-- The answer that is kept for an idempotency key of the owner; NULL: none, or its time is over.
-- Also how much is kept for the owner in the current window, which ends in seconds_left; below zero the next answer
-- begins a new one.
-- It is run after lock_counter: then it sees what a request with the same key has kept, and there is a counter.
-- $1 user_id  uuid
-- $2 key      text
-- -> request_digest  bytea
-- -> answer          text
-- -> kept_bytes      bigint
-- -> seconds_left    integer
-- index: task_counters_pkey, idempotency_keys_pkey
-- buffers: 6
SELECT /* tasks/find_answer */
    kept.request_digest,
    kept.answer,
    task_counters.kept_bytes,
    ceil(extract(EPOCH FROM task_counters.kept_until - now()))::integer AS seconds_left
FROM task_counters
LEFT JOIN idempotency_keys AS kept ON kept.user_id = $1 AND kept.key = $2 AND kept.forget_at > now()
WHERE task_counters.user_id = $1;
