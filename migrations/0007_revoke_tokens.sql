-- Why:    Tokens die before their time: at a change of the password, and when somebody logs out everywhere. An own token says
--         the generation that it was issued in; a token of an outside issuer says when it was issued.
-- Phase:  before the code that needs it. The old code does not notice, and takes revoked tokens.
-- Locks:  ACCESS EXCLUSIVE on users for a moment. Nothing is rewritten and no row is read.
-- Undo:   0007_revoke_tokens.rollback.sql. Tokens that were revoked are good again until they expire.
-- depends: 0006_count_attempts

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

ALTER TABLE users ADD COLUMN token_generation bigint NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN tokens_revoked_at timestamptz;
