-- Why:    Every write to a user's tasks takes the next number of that user's counter, and the task keeps it. Two devices find
--         out by it that a task has changed, and learn what has changed since they last looked. A deleted task leaves its id
--         and number behind, so that a device learns of the deletion and a late repetition does not bring it back.
--         Without an index on version in tasks, which would end HOT updates: of the updates a second of before, 0.88 are
--         left, with the index 0.71, with a log of all writes 0.60 (pgbench, one session, medians of three). Deletions keep
--         0.79, 0.72 and 0.78. What it costs: 10 changes of 10 000 tasks are 5 ms instead of 0.1, all tasks are looked at.
-- Phase:  before the code that needs it. Writes of the old code take no number, so a reader of changes misses them until
--         the task is written again: renew the history (docs/database.md) once the last process of the old code has ended.
-- Locks:  ACCESS EXCLUSIVE on tasks and ACCESS EXCLUSIVE on task_counters for a moment. Nothing is rewritten and no row
--         is read: constant defaults are kept in the catalogue. SHARE ROW EXCLUSIVE on users for the moment in which the
--         foreign key is made; deleted_tasks is new, and so is histories.
-- Undo:   0014_version_tasks.rollback.sql. The numbers are lost: clients have to read everything again.
-- depends: 0013_plan_tasks

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

ALTER TABLE tasks ADD COLUMN version bigint NOT NULL DEFAULT 0;
ALTER TABLE task_counters ADD COLUMN version bigint NOT NULL DEFAULT 0;

CREATE TABLE deleted_tasks (
    user_id    uuid        NOT NULL,
    task_id    uuid        NOT NULL,
    version    bigint      NOT NULL,
    forget_at  timestamptz NOT NULL,

    CONSTRAINT deleted_tasks_pkey PRIMARY KEY (user_id, task_id),
    CONSTRAINT deleted_tasks_version_key UNIQUE (user_id, version),
    CONSTRAINT deleted_tasks_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);

-- One row, which cursors name. Another id says that the numbers do not go on from those of before: the database was
-- restored.
CREATE TABLE histories (
    is_current boolean     NOT NULL DEFAULT TRUE,
    id         uuid        NOT NULL DEFAULT gen_random_uuid(),
    started_at timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT histories_pkey PRIMARY KEY (is_current),
    CONSTRAINT histories_one_row CHECK (is_current)
);
INSERT INTO histories DEFAULT VALUES;
