SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

ALTER TABLE tasks DROP COLUMN due_on;
ALTER TABLE tasks DROP COLUMN due_time;
ALTER TABLE tasks DROP COLUMN time_zone;
ALTER TABLE tasks DROP COLUMN priority;
ALTER TABLE tasks DROP COLUMN tags;
ALTER TABLE tasks DROP COLUMN completed_at;
