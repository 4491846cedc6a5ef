-- name: forget_deleted_users :one
-- Deletes the records of outside users who were deleted more than a day ago, 10 000 at the most. The caller repeats it.
-- Takes no lock in the SELECT: on Citus each node runs it on its own copy, and all must choose the same rows.
-- across owners: the users are deleted; run now and then by the service, without any value of a request
-- -> deleted  bigint
-- index: deleted_outside_users_pkey
WITH /* maintenance/forget_deleted_users */ gone AS (
    DELETE FROM deleted_outside_users
    WHERE
        deleted_at < now() - interval '1 day'
        AND (issuer, subject) IN (
            SELECT
                stale.issuer,
                stale.subject
            FROM deleted_outside_users AS stale
            WHERE stale.deleted_at < now() - interval '1 day'
            ORDER BY stale.deleted_at, stale.issuer, stale.subject
            LIMIT 10000
        )
    RETURNING subject
)

SELECT count(*) AS deleted FROM gone;
