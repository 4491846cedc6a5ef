-- Why:    Strangers' failed logins cannot lock a user out at an address from which the user has logged in before. The
--         newest five are kept with the user, newest first, each a keyed digest of the email and the address: no address
--         can be read from the table, and one address of two users looks different.
-- Phase:  before the code that needs it. The old code does not notice.
-- Locks:  ACCESS EXCLUSIVE on users for a moment. Nothing is rewritten and no row is read.
-- Undo:   0010_know_networks.rollback.sql. Every address is a new one until the next login from it.
-- depends: 0009_count_tasks

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

-- An array instead of a table: a login reads it with the user's row, one row lock decides between logins that
-- race, and there is nothing to clean up.
ALTER TABLE users ADD COLUMN known_networks bytea[] NOT NULL DEFAULT '{}';

-- NOT VALID saves the look at every row, all of which have the default. It binds each write all the same.
ALTER TABLE users ADD CONSTRAINT users_known_networks_count CHECK (cardinality(known_networks) <= 5) NOT VALID;
