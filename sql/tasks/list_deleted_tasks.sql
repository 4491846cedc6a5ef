-- name: list_deleted_tasks :many
-- The owner's deletions with a number behind $2 and up to $3, in the order of their numbers.
-- $1 user_id        uuid
-- $2 after_version  bigint
-- $3 newest         bigint
-- $4 max_rows       bigint
-- -> id       uuid
-- -> user_id  uuid
-- -> version  bigint
-- index: deleted_tasks_version_key
-- buffers: 7
SELECT /* tasks/list_deleted_tasks */
    task_id AS id,
    user_id,
    version
FROM deleted_tasks
WHERE user_id = $1 AND version > $2 AND version <= $3
ORDER BY version
LIMIT $4;
