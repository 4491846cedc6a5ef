-- Why:    The cleanup looks for the ids of deleted tasks whose time is over, every minute in each process. Without an index
--         it reads the whole table for that: 0.7 s of 5 000 000 rows, and from some 12 000 000 on longer than the time
--         limit of a statement, so that nothing is deleted any more. A BRIN index is smaller, but keeps the oldest time
--         of pages that are filled anew. A delete writes one row more, at the end of the index.
-- Phase:  before the code that needs it; any code works with it.
-- Locks:  none that a request waits for. The index waits for the transactions that are older than it.
-- Undo:   0018_index_expired_deletions.rollback.sql
-- depends: 0017_expire_cursors
-- transactional: false

SET lock_timeout = '5s';
SET statement_timeout = '10min';

-- What a run that was killed half-way has left behind is no index that anybody may use.
DROP INDEX CONCURRENTLY IF EXISTS deleted_tasks_forget_at;
CREATE INDEX CONCURRENTLY IF NOT EXISTS deleted_tasks_forget_at ON deleted_tasks (forget_at);

RESET lock_timeout;
RESET statement_timeout;
