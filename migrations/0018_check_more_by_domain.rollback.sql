SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

-- No row is read: every row fulfils the same rules already.
ALTER TABLE task_counters ALTER COLUMN task_count TYPE bigint;
ALTER TABLE tasks ALTER COLUMN time_zone TYPE text;
DROP DOMAIN task_count;
DROP DOMAIN task_time_zone;

ALTER TABLE task_counters ADD CONSTRAINT task_counters_task_count_not_negative CHECK (task_count >= 0) NOT VALID;
ALTER TABLE tasks ADD CONSTRAINT tasks_time_zone_length CHECK (char_length(time_zone) BETWEEN 1 AND 64) NOT VALID;
