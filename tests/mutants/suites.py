"""The test files for each file of the service, quickest first, because a run stops at its first failure."""

from fnmatch import fnmatch

SUITES: dict[str, list[str]] = {
    "service/auth/passwords.py": [
        "security/test_passwords.py", "security/test_hash_queue.py", "security/test_upgrades.py",
    ],
    "service/auth/issuer_keys.py": [
        "security/test_keys.py", "security/test_key_lists.py", "security/test_outside_tokens.py",
    ],
    "service/auth/verifier.py": ["security/test_verifier.py", "security/test_revocation.py"],
    "service/auth/token_cache.py": ["security/test_memory.py", "security/test_revocation.py"],
    "service/settings/issuers.py": ["operations/test_settings.py", "security/test_outside_tokens.py"],
    "service/auth/issuer_tokens.py": ["security/test_kid_and_leeway.py"],
    "service/auth/key_fetch.py": ["security/test_fetching.py"],
    "service/auth/key_download.py": ["security/test_fetching.py"],
    "service/auth/*": [
        "security/test_tokens.py", "security/test_false_tokens.py", "security/test_outside_tokens.py",
        "security/test_revocation.py", "security/test_isolation.py", "contract/test_account.py",
    ],
    "service/review/total_order.py": [
        "sql/test_total_order.py", "sql/test_total_order_of_functions.py", "sql/test_check.py",
        "sql/test_owner_rule.py",
    ],
    "service/review/plans.py": ["sql/test_conjuncts.py"],
    "service/review/batch_key.py": ["sql/test_batch_key.py"],
    "service/review/tables.py": ["sql/test_tables.py"],
    "service/review/children.py": ["sql/test_tables.py"],
    "service/review/reach.py": ["sql/test_tables.py"],
    "service/review/buffers.py": ["sql/test_explain.py", "sql/test_costs.py"],
    "service/review/index_line.py": ["sql/test_tables.py"],
    "service/review/*": [
        "sql/test_owner_rule.py", "sql/test_account_rule.py", "sql/test_opaque_objects.py", "sql/test_check.py",
        "sql/test_check_command.py", "sql/test_total_order.py", "sql/test_tables.py",
        "sql/test_explain.py", "sql/test_readme.py", "sql/test_plans.py",
        "sql/test_from_the_server.py", "sql/test_costs.py",
    ],
    "service/api/*": [
        "contract/test_february.py", "contract/test_fields.py", "contract/test_documents.py",
        "contract/test_between_contracts.py", "contract/test_account.py", "contract/test_errors.py",
        "contract/test_bodies.py", "contract/test_headers.py", "contract/test_export.py", "contract/test_collection.py",
        "security/test_tokens.py",
    ],
    "service/v1/*": [
        "contract/test_january.py", "contract/test_fields.py", "contract/test_documents.py",
        "contract/test_between_contracts.py", "contract/test_account.py", "contract/test_errors.py",
        "contract/test_bodies.py", "contract/test_headers.py", "security/test_tokens.py",
    ],
    "service/openapi/*": [
        "contract/test_documents.py", "contract/test_documented_lists.py", "contract/test_python_client.py",
        "contract/test_collection.py",
    ],
    "service/http/contract.py": [
        "contract/test_documents.py", "contract/test_headers.py", "contract/test_errors.py",
        "security/test_isolation.py",
    ],
    "service/db/pool.py": [
        "db/test_pool.py", "db/test_pool_waiters.py", "db/test_idle_connections.py", "db/test_connect.py",
        "operations/test_database_faults.py",
        "operations/test_faults.py",
    ],
    "service/db/batch_rows.py": ["db/test_foreign_rows.py", "db/test_batching.py"],
    "service/db/batching.py": [
        "db/test_batching.py", "db/test_batching_failures.py", "db/test_round_trips.py",
        "db/test_foreign_rows.py", "db/test_fair_queue.py", "db/test_lock_waits.py",
        "operations/test_database_faults.py",
    ],
    "service/db/database.py": [
        "db/test_database_errors.py", "db/test_lock_waits.py",
        "operations/test_database_faults.py", "db/test_batching_failures.py", "db/test_round_trips.py",
        "operations/test_faults.py", "sql/test_citus_refuses.py", "contract/test_account.py",
        "security/test_revocation.py",
    ],
    "service/fair_queue.py": [
        "db/test_fair_queue.py", "db/test_fair_slots.py", "db/test_pool_waiters.py", "db/test_pool.py",
    ],
    "service/db/lock_waits.py": ["db/test_lock_queues.py", "db/test_lock_waits.py", "db/test_batching_failures.py"],
    "service/db/concurrent_migrations.py": ["migrations/test_concurrent_migrations.py", "migrations/test_runs.py"],
    "service/db/schema_drift.py": ["migrations/test_schema_drift.py"],
    "service/db/checksums.py": ["migrations/test_schema_drift.py"],
    "service/doctor/settings_checks.py": ["doctor/test_settings.py"],
    "service/doctor/host_checks.py": ["doctor/test_host.py"],
    "service/doctor/issuer_checks.py": ["doctor/test_issuers.py"],
    "service/doctor/finding.py": ["doctor/test_command.py"],
    "service/doctor/schema_checks.py": ["doctor/test_schema.py", "doctor/test_roles.py"],
    "service/doctor/role_checks.py": ["doctor/test_roles.py"],
    "service/doctor/server_checks.py": ["doctor/test_server.py", "doctor/test_roles.py"],
    "service/doctor/activity_checks.py": ["doctor/test_server.py", "doctor/test_schema.py", "doctor/test_roles.py"],
    "service/doctor/examin*.py": ["doctor/test_server.py", "doctor/test_schema.py"],
    "service/server/fast_path.py": [
        "server/test_sanic_features.py", "server/test_sentry.py", "contract/test_http.py", "contract/test_headers.py",
        "contract/test_bodies.py", "contract/test_errors.py", "contract/test_long_lists.py",
    ],
    "service/metrics/*": ["operations/test_shared_memory.py", "operations/test_metrics.py"],
    "service/db/statement_metrics.py": ["db/test_statement_metrics.py", "operations/test_metrics_of_parts.py"],
    "service/http/request_metrics.py": ["operations/test_metrics.py"],
    "service/server/metrics_*.py": ["operations/test_metrics.py"],
    "service/server/readings.py": ["operations/test_metrics_of_parts.py"],
    "service/traces/*": [
        "operations/test_traces.py", "operations/test_traces_of_parts.py", "operations/test_traces_of_failures.py",
    ],
    "service/db/statement_traces.py": ["operations/test_traces.py", "operations/test_traces_of_parts.py"],
    "service/db/batch_traces.py": ["db/test_traced_batches.py", "operations/test_traces_of_parts.py"],
    "service/http/request_traces.py": ["operations/test_traces.py"],
    "service/server/traces_extension.py": ["operations/test_traces.py"],
    "service/server/supervisor.py": ["operations/test_workers.py"],
    "service/server/places.py": ["server/test_places.py", "server/test_connection_limit.py"],
    "service/server/round_robin.py": ["server/test_round_robin.py", "server/test_pipelining.py"],
    "service/server/writes.py": ["server/test_writes.py", "server/test_pipelining.py"],
    "service/server/http1.py": ["server/test_http1.py", "server/test_half_close.py", "security/test_smuggling.py"],
    "service/server/http_head.py": ["security/test_smuggling.py", "security/test_other_readers.py"],
    "service/server/chunked_body.py": ["security/test_smuggling.py", "security/test_other_readers.py"],
    "service/db/connect.py": ["db/test_session_settings.py", "db/test_connect.py", "db/test_pgbouncer.py"],
    "service/log/line_writer.py": ["operations/test_stalled_log.py"],
    "service/settings/resources.py": ["doctor/test_host.py", "operations/test_processors.py"],
    "service/http/json_stream.py": ["contract/test_lists.py", "contract/test_long_lists.py", "contract/test_export.py"],
    "service/http/list_rows.py": ["contract/test_lists.py", "contract/test_long_lists.py", "contract/test_export.py"],
    "service/http/query_*.py": ["contract/test_list_parameters.py", "contract/test_lists.py"],
    "service/api/cursor.py": ["contract/test_list_cursors.py"],
    "service/api/list_query.py": [
        "contract/test_list_parameters.py", "contract/test_lists.py", "contract/test_list_cursors.py",
        "contract/test_documented_lists.py",
    ],
    "service/domain/task_lists.py": [
        "contract/test_lists.py", "sql/test_page_statements.py", "db/test_batching.py", "db/test_round_trips.py",
    ],
    "service/api/tasks.py": [
        "contract/test_versions.py", "contract/test_planning.py", "contract/test_task_fields.py",
        "contract/test_idempotency.py",
    ],
    "service/api/batch*.py": ["contract/test_batch.py", "contract/test_batch_refusals.py"],
    "service/domain/task_batch.py": [
        "contract/test_batch.py", "contract/test_batch_refusals.py", "contract/test_batches_at_once.py",
    ],
    "service/api/change*.py": ["contract/test_changes.py"],
    "service/domain/change_feed.py": ["contract/test_changes.py"],
    "service/*/idempotency.py": ["contract/test_idempotency.py"],
    "service/http/preconditions.py": ["contract/test_versions.py", "contract/test_changes.py"],
    "service/http/strict_handling.py": ["contract/test_strict_handling.py", "contract/test_batch_refusals.py"],
    "service/http/prefer.py": ["contract/test_strict_handling.py"],
    "service/domain/known_networks.py": ["security/test_known_addresses.py"],
    "service/settings/database_url.py": ["db/test_database_url.py", "db/test_tls.py"],
    "service/domain/rate_limits.py": [
        "security/test_guessing.py", "security/test_uncounted_logins.py", "security/test_refused_logins.py",
    ],
    "service/http/headers.py": ["contract/test_headers.py", "contract/test_errors.py"],
    "service/http/request.py": [
        "contract/test_headers.py", "contract/test_bodies.py", "contract/test_http.py",
        "server/test_slow_clients.py",
    ],
}  # fmt: skip


def suite_of(file: str) -> list[str]:
    """The test files of all matching patterns without duplicates; tests/contract if no pattern matches."""
    named = [test for pattern, tests in SUITES.items() if fnmatch(file, pattern) for test in tests]
    return [f"tests/{test}" for test in dict.fromkeys(named)] or ["tests/contract"]
