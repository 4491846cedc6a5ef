-- Why:    The privileges of todo_runtime, the role of the running service. Runs after every `migrate` that leaves
--         nothing pending. The columns come from the catalogue, so that the `migrate` of an older release grants those
--         of a newer one too, and nothing is revoked that a newer release may have granted. A migration that creates a
--         table adds it here.
-- Locks:  none.
-- Undo:   none needed; the next run sets the privileges again.

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

DO $$
DECLARE
    granted_table text;
    changeable text;
BEGIN
    -- A server without the roles of sql/roles.sql, such as the embedded one of a laptop.
    IF to_regrole('todo_runtime') IS NULL THEN
        RETURN;
    END IF;

    FOREACH granted_table IN ARRAY ARRAY[
        'users', 'tasks', 'task_counters', 'idempotency_keys', 'attempts', 'deleted_outside_users'
    ] LOOP
        -- UPDATE of a table includes that of its columns: both go, and the columns come back below.
        EXECUTE format('REVOKE UPDATE, TRUNCATE, REFERENCES, TRIGGER ON %I FROM todo_runtime', granted_table);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO todo_runtime', granted_table);

        -- A row never changes its owner, what it is found by, or the time it was made, whatever a statement says.
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO STRICT changeable
        FROM pg_attribute
        WHERE
            attrelid = to_regclass(quote_ident(granted_table))
            AND attnum > 0
            AND NOT attisdropped
            AND attname NOT IN ('user_id', 'id', 'created_at', 'issuer', 'subject', 'bucket', 'key');
        EXECUTE format('GRANT UPDATE (%s) ON %I TO todo_runtime', changeable, granted_table);
    END LOOP;

    -- Without task_counters: its rows go with their users, by the foreign key.
    GRANT DELETE ON users, tasks, deleted_tasks, idempotency_keys, attempts, deleted_outside_users TO todo_runtime;

    -- A deletion is never changed.
    REVOKE UPDATE, TRUNCATE, REFERENCES, TRIGGER ON deleted_tasks FROM todo_runtime;
    GRANT SELECT, INSERT ON deleted_tasks TO todo_runtime;

    -- A new history is begun by migrate, or by hand.
    REVOKE ALL ON histories FROM todo_runtime;
    GRANT SELECT ON histories TO todo_runtime;

    -- Whether the schema is behind, and whether a migration was edited after it was applied.
    REVOKE ALL ON _yoyo_migration, migration_checksums FROM todo_runtime;
    GRANT SELECT ON _yoyo_migration, migration_checksums TO todo_runtime;
END
$$;
