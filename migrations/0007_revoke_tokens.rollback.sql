SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

ALTER TABLE users DROP COLUMN token_generation;
ALTER TABLE users DROP COLUMN tokens_revoked_at;
