-- Why:    What the role of the running service may do. Runs after every `migrate` that leaves nothing pending, and says
--         the whole each time. A migration that makes a table adds it here, in both places.
-- Locks:  none.
-- Undo:   none needed; nothing is kept.

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

DO $$
BEGIN
    -- A server without the roles of sql/roles.sql, the embedded one of a laptop for example.
    IF to_regrole('todo_runtime') IS NULL THEN
        RETURN;
    END IF;

    REVOKE ALL ON users, tasks, task_counters, attempts, deleted_outside_users, _yoyo_migration FROM todo_runtime;

    GRANT SELECT, INSERT, UPDATE, DELETE ON users TO todo_runtime;

    -- A task never changes its owner or its id, whatever a statement says.
    GRANT SELECT, INSERT, DELETE ON tasks TO todo_runtime;
    GRANT UPDATE (title, description, is_completed, updated_at) ON tasks TO todo_runtime;

    -- Rows go with their users, by the foreign key.
    GRANT SELECT, INSERT ON task_counters TO todo_runtime;
    GRANT UPDATE (task_count, counted_at) ON task_counters TO todo_runtime;

    GRANT SELECT, INSERT, UPDATE, DELETE ON attempts, deleted_outside_users TO todo_runtime;

    -- Whether the schema is behind.
    GRANT SELECT ON _yoyo_migration TO todo_runtime;
END
$$;
