-- name: record_checksums :many
-- Keeps the checksums of files that are applied. A migration that was rolled back and applied again has a new one.
-- $1 migration_ids  text[]
-- $2 checksums      text[]
-- -> migration_id   text
-- index: none
INSERT /* migrations/record_checksums */ INTO migration_checksums (migration_id, sha256)
SELECT
    given.migration_id,
    given.sha256
FROM unnest($1::text[], $2::text[]) AS given (migration_id, sha256)
ON CONFLICT (migration_id) DO UPDATE
    SET
        sha256 = excluded.sha256,
        kept_at = excluded.kept_at
RETURNING migration_id;
