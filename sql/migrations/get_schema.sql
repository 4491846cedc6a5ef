-- name: get_schema :one
-- The schema in which this role finds tables. NULL: it may use none of its search_path.
-- -> role_name    text
-- -> schema_name  text
-- index: none
SELECT /* migrations/get_schema */
    current_user::text AS role_name,
    current_schema()::text AS schema_name;
