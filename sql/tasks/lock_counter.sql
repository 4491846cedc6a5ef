-- name: lock_counter :one
-- Locks the owner's counter until the end of the transaction, and makes it where there is none. The statements after it
-- see all that the owner's other writes have done, because each of those holds this lock. A deleted owner violates
-- task_counters_user_id_fkey.
-- $1 user_id  uuid
-- -> user_id  uuid
-- -> version  bigint
-- index: none
-- buffers: 8
INSERT /* tasks/lock_counter */ INTO task_counters (user_id, task_count)
VALUES ($1, 0)
ON CONFLICT (user_id) DO UPDATE SET task_count = task_counters.task_count
RETURNING user_id, version;
