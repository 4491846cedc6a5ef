-- name: list_idle_slots :many
-- Replication slots without a reader, and the bytes of write-ahead log that the server keeps for each.
-- $1 more_than_bytes  bigint
-- -> slot_name     text
-- -> kept_bytes    bigint
-- -> drop_command  text
-- index: none
SELECT /* doctor/list_idle_slots */
    slots.slot_name,
    slots.kept_bytes,
    format('SELECT pg_drop_replication_slot(%L)', slots.slot_name) AS drop_command
FROM (
    SELECT
        slot_name::text AS slot_name,
        pg_wal_lsn_diff(
            CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn
        )::bigint AS kept_bytes
    FROM pg_replication_slots
    WHERE NOT active
) AS slots
WHERE slots.kept_bytes > $1
ORDER BY slots.slot_name;
