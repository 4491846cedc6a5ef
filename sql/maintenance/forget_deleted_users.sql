-- name: forget_deleted_users :exec
-- Deletes the records of outside users who were deleted more than a day ago.
-- across owners: the users are deleted; run now and then by the service, without any value of a request
-- index: none
DELETE /* maintenance/forget_deleted_users */ FROM deleted_outside_users
WHERE deleted_at < now() - interval '1 day';
