-- Why:    A quota needs the number of a user's tasks at each create, without a scan of them. One row a user holds it, made at
--         their first create. It is a table of its own because users is on every node of a cluster, and a write to it
--         would go to all of them; this one is owned and spread by user_id, like tasks. Its row lock orders one user's
--         creates and deletes, and blocks no other user.
-- Phase:  before the code that needs it. The old code creates and deletes tasks without counting them: the new code counts
--         the tasks of an account again before it refuses a create.
-- Locks:  SHARE ROW EXCLUSIVE on users for the moment in which the foreign key is made; task_counters is new and empty.
-- Undo:   0009_count_tasks.rollback.sql. The counts are lost; they are made again from the tasks.
-- depends: 0008_remember_deleted_users

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

-- counted_at: when the tasks themselves were last counted. A row is 56 bytes and changes at every create and delete. Half
-- a page stays free, so that the new version fits beside the old one and the index is left alone (HOT).
CREATE TABLE task_counters (
    user_id    uuid        NOT NULL,
    task_count bigint      NOT NULL,
    counted_at timestamptz NOT NULL DEFAULT '-infinity',

    CONSTRAINT task_counters_pkey PRIMARY KEY (user_id),
    CONSTRAINT task_counters_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT task_counters_task_count_not_negative CHECK (task_count >= 0)
) WITH (fillfactor = 50);
