-- Why:    Users of outside issuers. They have no password here: who they are is the issuer and its subject. An address that
--         an issuer vouches for is not the same as an account here, so nobody is ever found by the email of a token.
-- Phase:  before the code that needs it; 0004 and 0005 belong to it.
-- Locks:  ACCESS EXCLUSIVE on users for a moment. Nothing is rewritten and no row is read.
-- Undo:   0003_add_outside_users.rollback.sql, after that of 0005, which drops the outside users and their tasks.
-- depends: 0002_create_tasks

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

ALTER TABLE users ADD COLUMN issuer text;
ALTER TABLE users ADD COLUMN subject text;

-- The code that runs writes both, and goes on doing so.
-- squawk-ignore ban-drop-not-null
ALTER TABLE users ALTER COLUMN email DROP NOT NULL;
-- squawk-ignore ban-drop-not-null
ALTER TABLE users ALTER COLUMN password_hash DROP NOT NULL;

-- 0005 validates them. Each part says IS NOT NULL itself: a check whose answer is NULL has passed.
ALTER TABLE users ADD CONSTRAINT users_password_or_issuer CHECK (
    password_hash IS NOT NULL AND email IS NOT NULL AND issuer IS NULL AND subject IS NULL
    OR password_hash IS NULL AND issuer IS NOT NULL AND subject IS NOT NULL
) NOT VALID;
ALTER TABLE users ADD CONSTRAINT users_issuer_length CHECK (char_length(issuer) BETWEEN 1 AND 255) NOT VALID;
ALTER TABLE users ADD CONSTRAINT users_subject_length CHECK (char_length(subject) BETWEEN 1 AND 255) NOT VALID;
