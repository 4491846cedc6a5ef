-- What the peers create with. The service counts the tasks of each user too; they do not.
INSERT INTO tasks (user_id, title, description)
VALUES ($1, $2, $3)
RETURNING id, user_id, title, description, is_completed, created_at, updated_at
