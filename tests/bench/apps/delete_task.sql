-- What the peers delete with. The service counts the tasks of each user too; they do not.
DELETE FROM tasks
WHERE user_id = $1 AND id = $2
RETURNING id, user_id
