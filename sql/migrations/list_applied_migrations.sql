-- name: list_applied_migrations :many
-- The applied migrations in order, with their times in UTC.
-- -> migration_id    varchar
-- -> applied_at_utc  timestamp
-- index: none
SELECT /* migrations/list_applied_migrations */ migration_id, applied_at_utc
FROM _yoyo_migration
ORDER BY migration_id;
