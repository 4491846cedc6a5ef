-- Why:    The privileges of the runtime role. Runs after every `migrate` that leaves nothing pending, and sets all
--         privileges each time. A migration that creates a table adds it here, in both places.
-- Locks:  none.
-- Undo:   none needed; the next run sets the privileges again.

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

DO $$
BEGIN
    -- A server without the roles of sql/roles.sql, such as the embedded one of a laptop.
    IF to_regrole('todo_runtime') IS NULL THEN
        RETURN;
    END IF;

    REVOKE ALL ON users, tasks, task_counters, attempts, deleted_outside_users, _yoyo_migration FROM todo_runtime;

    GRANT SELECT, INSERT, UPDATE, DELETE ON users TO todo_runtime;

    -- No UPDATE on id and user_id: no statement can change a task's owner or id.
    GRANT SELECT, INSERT, DELETE ON tasks TO todo_runtime;
    GRANT UPDATE (title, description, is_completed, updated_at) ON tasks TO todo_runtime;

    -- No DELETE: the foreign key deletes these rows with their users.
    GRANT SELECT, INSERT ON task_counters TO todo_runtime;
    GRANT UPDATE (task_count, counted_at) ON task_counters TO todo_runtime;

    GRANT SELECT, INSERT, UPDATE, DELETE ON attempts, deleted_outside_users TO todo_runtime;

    -- The service reads it to check whether the schema is behind.
    GRANT SELECT ON _yoyo_migration TO todo_runtime;
END
$$;
