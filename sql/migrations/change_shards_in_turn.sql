-- name: change_shards_in_turn :one
-- On Citus, makes the rest of the transaction change the shards of a table one after the other. After changing them
-- side by side it refuses each change of a type or a domain. Elsewhere this sets a setting that nothing reads.
-- -> shard_mode  text
-- index: none
SELECT /* migrations/change_shards_in_turn */
    set_config('citus.multi_shard_modify_mode', 'sequential', TRUE) AS shard_mode;
