SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

DROP TABLE histories;
DROP TABLE deleted_tasks;
ALTER TABLE task_counters DROP COLUMN version;
ALTER TABLE tasks DROP COLUMN version;
