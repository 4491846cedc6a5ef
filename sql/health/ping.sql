-- name: ping :one
-- Whether a connection still has a server at its other end. Asked before one is used that was idle for long.
-- -> is_there  boolean
-- index: none
SELECT /* health/ping */ true AS is_there
