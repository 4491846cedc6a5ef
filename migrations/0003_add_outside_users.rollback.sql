SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

ALTER TABLE users DROP CONSTRAINT users_password_or_issuer;
ALTER TABLE users DROP COLUMN issuer;
ALTER TABLE users DROP COLUMN subject;
ALTER TABLE users ALTER COLUMN email SET NOT NULL;
ALTER TABLE users ALTER COLUMN password_hash SET NOT NULL;
