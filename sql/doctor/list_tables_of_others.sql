-- name: list_tables_of_others :many
-- Tables that another role owns, so that the role of this session cannot change them.
-- $1 table_names  text[]
-- -> role_name    text
-- -> table_name   text
-- -> owner_name   text
-- index: pg_class_relname_nsp_index
SELECT /* doctor/list_tables_of_others */
    current_user::text AS role_name,
    pg_class.relname::text AS table_name,
    pg_get_userbyid(pg_class.relowner)::text AS owner_name
FROM pg_class
WHERE
    pg_class.relnamespace = current_schema()::regnamespace
    AND pg_class.relname = ANY($1::text[]::name[])
    AND NOT pg_has_role(pg_class.relowner, 'USAGE')
ORDER BY table_name;
