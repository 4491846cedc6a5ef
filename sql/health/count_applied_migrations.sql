-- name: count_applied_migrations :one
-- How many of the migrations this code knows are applied: fewer than all means the schema is behind.
-- $1 migration_ids  text[]
-- -> applied  bigint
-- index: none
SELECT /* health/count_applied_migrations */ count(*) AS applied
FROM _yoyo_migration
WHERE migration_id = ANY($1::text[])
