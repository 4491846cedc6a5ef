SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

ALTER TABLE task_counters DROP COLUMN kept_until;
ALTER TABLE task_counters DROP COLUMN kept_bytes;
DROP TABLE idempotency_keys;
