SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

-- Without issuer and subject nobody could say who they are.
DELETE FROM users
WHERE password_hash IS NULL;

ALTER INDEX users_email_key RENAME TO users_password_email_key;
ALTER TABLE users ADD CONSTRAINT users_email_key UNIQUE (email);
