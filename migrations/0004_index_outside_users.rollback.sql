SET lock_timeout = '5s';
SET statement_timeout = '30s';

DROP INDEX CONCURRENTLY IF EXISTS users_issuer_subject_key;
DROP INDEX CONCURRENTLY IF EXISTS users_password_email_key;

RESET lock_timeout;
RESET statement_timeout;
