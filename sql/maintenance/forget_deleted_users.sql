-- name: forget_deleted_users :exec
-- Deletes what is remembered of users who were deleted more than a day ago.
-- across owners: they have no rows any more; the service runs this now and then, with nothing of a request in it
-- index: none
DELETE /* maintenance/forget_deleted_users */ FROM deleted_outside_users
WHERE deleted_at < now() - interval '1 day'
