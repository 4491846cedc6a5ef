-- Why:    From here on two users may have one email, when at most one of them logs in with it. The index takes the name of
--         the constraint that it replaces: the service knows a taken email by that name, the old code like the new.
-- Phase:  before the code that needs it. Until the new code runs, a login of the old one reads all of users.
-- Locks:  ACCESS EXCLUSIVE on users for a moment, and before it SHARE UPDATE EXCLUSIVE, while it is read once.
-- Undo:   0005_email_unique_among_passwords.rollback.sql. It drops the outside users and their tasks.
-- depends: 0004_index_outside_users

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

ALTER TABLE users VALIDATE CONSTRAINT users_password_or_issuer;
ALTER TABLE users VALIDATE CONSTRAINT users_issuer_length;
ALTER TABLE users VALIDATE CONSTRAINT users_subject_length;

-- The index goes on guaranteeing what the constraint did for whoever logs in with an email.
-- squawk-ignore ban-drop-constraint
ALTER TABLE users DROP CONSTRAINT users_email_key;
-- squawk-ignore renaming-object
ALTER INDEX users_password_email_key RENAME TO users_email_key;
