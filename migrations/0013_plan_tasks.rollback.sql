SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

ALTER TABLE tasks
    DROP COLUMN due_on,
    DROP COLUMN due_time,
    DROP COLUMN time_zone,
    DROP COLUMN priority,
    DROP COLUMN tags,
    DROP COLUMN completed_at;
