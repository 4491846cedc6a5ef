-- name: list_checksums :many
-- The checksum of each migration's file when it was applied.
-- -> migration_id  text
-- -> sha256        text
-- index: none
SELECT /* migrations/list_checksums */
    migration_id,
    sha256
FROM migration_checksums
ORDER BY migration_id;
