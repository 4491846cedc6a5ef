-- name: get_history_id :one
-- The random id that tells this database from every other one.
-- -> history_id  uuid
-- index: none
SELECT /* doctor/get_history_id */ id AS history_id
FROM histories;
