-- Why:    An update of a task writes a new version of its row. Where the page has room for it, the two indexes are left
--         alone (HOT); where not, the row moves to another page and both indexes get a new entry. A tenth of each page
--         now stays free. This many of the first 100 000 updates, each of another task, were HOT (PostgreSQL 18):
--           of 1 000 000 tasks   85 % at fillfactor 100, all at 90; the table has 89.3 MB at 100, and 99.5 MB at 90
--           of 4 000 000 tasks   61 % at fillfactor 100, all at 90; the table has 357 MB at 100, and 398 MB at 90
--         An update in the database of the golden plans touches 8 buffers, and touched 16 before.
--         Existing pages are not rewritten. A full page stays full until one of its rows moves away: in a table of
--         1 000 000 tasks that was filled before, still 85 % were HOT. VACUUM FULL or pg_repack rewrites it.
-- Phase:  before the code that needs it. No code does; the old code gains the same.
-- Locks:  SHARE UPDATE EXCLUSIVE on tasks for a moment (0.4 ms, whatever its size). Nothing is rewritten and no row is
--         read; reads and writes go on. It waits for a VACUUM or an index build of tasks, and gives up after 5 s.
-- Undo:   0012_leave_room_for_updates.rollback.sql. Nothing is lost; full pages fill up again.
-- depends: 0011_keep_checksums

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

ALTER TABLE tasks SET (fillfactor = 90);
