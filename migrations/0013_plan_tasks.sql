-- Why:    Tasks that people plan with: a due date, with a time and a time zone where they matter, a priority, tags, and the
--         time at which a task was completed. Each row shows by its constraints that its fields fit together.
--         No new index: a list starts from its owner's rows, at most TASKS_PER_USER of them, and sorts those.
--         tags is jsonb, not text[]: a CHECK can then look at each tag, without a function of our own.
-- Phase:  before the code that needs it. The old code leaves the new columns as they are. It does not set completed_at,
--         so no constraint ties that to is_completed; the service shows it of a completed task only.
-- Locks:  ACCESS EXCLUSIVE on tasks for a moment. Nothing is rewritten and no row is read: constant defaults are kept in
--         the catalogue. It waits for running statements on tasks, and gives up after 5 s.
-- Undo:   0013_plan_tasks.rollback.sql. The dates, priorities and tags of all tasks are lost.
-- depends: 0012_leave_room_for_updates

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

-- priority: 0 none, 1 low, 2 medium, 3 high.
ALTER TABLE tasks ADD COLUMN due_on date;
ALTER TABLE tasks ADD COLUMN due_time time;
ALTER TABLE tasks ADD COLUMN time_zone text;
-- squawk-ignore prefer-bigint-over-smallint
ALTER TABLE tasks ADD COLUMN priority smallint NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN tags jsonb NOT NULL DEFAULT '[]';
ALTER TABLE tasks ADD COLUMN completed_at timestamptz;

-- NOT VALID saves the look at every row, all of which have the defaults. It binds each write all the same.
ALTER TABLE tasks ADD CONSTRAINT tasks_due_on_years CHECK (due_on BETWEEN '1900-01-01' AND '2999-12-31') NOT VALID;
ALTER TABLE tasks ADD CONSTRAINT tasks_due_time_whole_minutes CHECK (
    due_time < '24:00' AND extract(SECOND FROM due_time) = 0
) NOT VALID;
ALTER TABLE tasks ADD CONSTRAINT tasks_due_time_needs_due_on CHECK (due_time IS NULL OR due_on IS NOT NULL) NOT VALID;
ALTER TABLE tasks ADD CONSTRAINT tasks_time_zone_length CHECK (char_length(time_zone) BETWEEN 1 AND 64) NOT VALID;
ALTER TABLE tasks ADD CONSTRAINT tasks_time_zone_needs_due_time CHECK (
    time_zone IS NULL OR due_time IS NOT NULL
) NOT VALID;
ALTER TABLE tasks ADD CONSTRAINT tasks_priority_known CHECK (priority BETWEEN 0 AND 3) NOT VALID;
ALTER TABLE tasks ADD CONSTRAINT tasks_tags_list CHECK (
    CASE WHEN jsonb_typeof(tags) = 'array' THEN jsonb_array_length(tags) <= 20 ELSE FALSE END
) NOT VALID;
-- strict, because a lax path takes a list inside of the list for its texts.
ALTER TABLE tasks ADD CONSTRAINT tasks_tags_texts CHECK (
    NOT tags @? 'strict $[*] ? (@.type() != "string" || !(@ like_regex "^.{1,50}$" flag "s"))'
) NOT VALID;
-- The white space is that of 0002_create_tasks, which Python's str.strip() takes away.
ALTER TABLE tasks ADD CONSTRAINT tasks_tags_trimmed CHECK (
    NOT tags @? 'strict $[*] ? (@ like_regex "^[ \t\n\u000b\f\r\u001c-\u001f\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]|[ \t\n\u000b\f\r\u001c-\u001f\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]$")'
) NOT VALID;
