SET lock_timeout = '5s';
SET statement_timeout = '30s';

DROP INDEX CONCURRENTLY IF EXISTS deleted_tasks_forget_at;

RESET lock_timeout;
RESET statement_timeout;
