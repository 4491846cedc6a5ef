-- Why:    A large account is deleted in pieces that leave no row in deleted_tasks, for they would have to be deleted
--         with it. If such a deletion is interrupted, a device of the user never learned which tasks are gone. Each
--         piece now writes its number here, and a cursor of changes from before it is refused: the device reads all
--         tasks again.
-- Phase:  before the code that needs it. The old code does not notice.
-- Locks:  ACCESS EXCLUSIVE on task_counters for a moment. Nothing is rewritten and no row is read: a constant default is
--         kept in the catalogue.
-- Undo:   0017_expire_cursors.rollback.sql. A device whose user has such an account may keep deleted tasks.
-- depends: 0016_check_fields_by_domain

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

-- Deletions up to this number may be missing in deleted_tasks.
ALTER TABLE task_counters ADD COLUMN untold_version bigint NOT NULL DEFAULT 0;
