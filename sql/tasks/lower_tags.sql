-- name: lower_tags :one
-- The tags of a request, a list in JSON, in lower case: those that differ in case alone become equal.
-- Only a request with two tags or more runs it: as a part of create_task and update_task it would cost all of them.
-- It reads no row; $1 is the owner whose share of the pool it counts against.
-- $1 user_id  uuid
-- $2 tags     text
-- -> lowered  text
-- index: none
-- buffers: 0
SELECT /* tasks/lower_tags */ lower($2) AS lowered
WHERE $1::uuid IS NOT NULL;
