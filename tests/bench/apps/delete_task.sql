-- The statement with which the peers delete. They do not count the tasks of each user, number the writes and remember
-- the deletion, as the service does.
DELETE FROM tasks
WHERE user_id = $1 AND id = $2
RETURNING id, user_id
