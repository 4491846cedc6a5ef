-- The statement with which the peers create. They do not count the tasks of each user and number the writes, as the
-- service does.
INSERT INTO tasks (user_id, title, description)
VALUES ($1, $2, $3)
RETURNING
    id, user_id, title, description, is_completed, created_at, updated_at,
    due_on, due_time, time_zone, priority, tags, completed_at, version
