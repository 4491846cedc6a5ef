-- The statement with which the peers delete. They do not count the tasks of each user, as the service does.
DELETE FROM tasks
WHERE user_id = $1 AND id = $2
RETURNING id, user_id
