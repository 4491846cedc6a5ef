-- name: create_task :one
-- A new task of the owner. An owner who is gone violates tasks_user_id_fkey.
-- $1 user_id      uuid
-- $2 title        text
-- $3 description  text
-- -> id            uuid
-- -> user_id       uuid
-- -> title         text
-- -> description   text
-- -> is_completed  boolean
-- -> created_at    timestamptz
-- -> updated_at    timestamptz
-- index: none
INSERT /* tasks/create_task */ INTO tasks (user_id, title, description)
VALUES ($1, $2, $3)
RETURNING id, user_id, title, description, is_completed, created_at, updated_at
