-- Why:    An outside user is found by issuer and subject. An email is unique among those who log in with it.
-- Phase:  before the code that needs it.
-- Locks:  none that a request waits for. Each index waits for the transactions that are older than it.
-- Undo:   0004_index_outside_users.rollback.sql
-- depends: 0003_add_outside_users
-- transactional: false

SET lock_timeout = '5s';
SET statement_timeout = '10min';

-- What a run that was killed half-way has left behind is no index that anybody may use.
DROP INDEX CONCURRENTLY IF EXISTS users_issuer_subject_key;
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS users_issuer_subject_key ON users (issuer, subject);

DROP INDEX CONCURRENTLY IF EXISTS users_password_email_key;
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS users_password_email_key ON users (email)
WHERE password_hash IS NOT NULL;

RESET lock_timeout;
RESET statement_timeout;
