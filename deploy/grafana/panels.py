"""The panels of the dashboard, in the order in which they are looked at: what users notice first, then its causes."""

from typing import NamedTuple

INSTANCE = 'instance=~"$instance"'
# As in the alert TodoRequestsSlow: without streamed lists, hashed passwords, and clients that send slowly.
OF_USUAL_REQUESTS = (
    'http_route!~"/v1/api/tasks|(/v1)?/api/auth/(signup|login|password|me/export)",http_response_status_code!="408"'
)


class Query(NamedTuple):
    expression: str
    legend: str  # Grafana puts the values of labels into it


class Panel(NamedTuple):
    title: str
    unit: str  # as Grafana names it
    queries: tuple[Query, ...]


class Row(NamedTuple):
    title: str
    panels: tuple[Panel, ...]


def now(metric: str) -> str:
    return f"sum({metric}{{{INSTANCE}}})"


def rate(metric: str, by: str = "", labels: str = "") -> str:
    grouped = f" by ({by}) " if by else ""
    selected = ",".join(part for part in (INSTANCE, labels) if part)
    return f"sum{grouped}(rate({metric}{{{selected}}}[$__rate_interval]))"


def quantile(share_of_events: float, histogram: str, by: str = "", labels: str = "") -> str:
    rates = rate(f"{histogram}_bucket", f"le,{by}" if by else "le", labels)
    return f"histogram_quantile({share_of_events}, {rates})"


def largest(query: str) -> str:
    return f"topk(8, {query})"


REQUESTS = "http_server_request_duration_seconds"
STATEMENTS = "todo_statement_duration_seconds"
NOT_OF_HEALTH = 'http_route!~"/health(/live)?"'
FAILED = rate(f"{REQUESTS}_count", labels='http_route!="/health",http_response_status_code=~"5.."')
REFUSED = rate("todo_password_hash_refused_total")

# fmt: off
ROWS = (
    Row("Service", (
        Panel("Alerts that fire", "short", (
            Query('count(ALERTS{alertname=~"Todo.+",alertstate="firing"}) or vector(0)', "alerts"),)),
        Panel("Copies by version", "short", (
            Query(f"count by (version, python_version) (todo_build_info{{{INSTANCE}}})",
                  "{{version}} on Python {{python_version}}"),)),
        Panel("Workers started", "short", (
            Query(f"sum by (instance) (increase(todo_worker_starts_total{{{INSTANCE}}}[$__rate_interval]))",
                  "{{instance}}"),)),
        Panel("Lines of the log dropped", "ops", (Query(rate("todo_log_lines_dropped_total"), "lines"),)),
    )),
    Row("Requests", (
        Panel("Requests by status", "reqps", (
            Query(rate(f"{REQUESTS}_count", "http_response_status_code"), "{{http_response_status_code}}"),)),
        Panel("Share of 5xx, without /health", "percentunit", (
            Query(f"({FAILED} or vector(0)) / {rate(f'{REQUESTS}_count', labels=NOT_OF_HEALTH)}", "5xx"),)),
        Panel("Duration of usual requests", "s", (
            Query(quantile(0.5, REQUESTS, labels=OF_USUAL_REQUESTS), "p50"),
            Query(quantile(0.99, REQUESTS, labels=OF_USUAL_REQUESTS), "p99"))),
        Panel("Connections of clients", "short", (
            Query(now("todo_connections"), "open"),
            Query(now("http_server_active_requests"), "being answered"))),
        Panel("Requests by route", "reqps", (
            Query(largest(rate(f"{REQUESTS}_count", "http_request_method, http_route")),
                  "{{http_request_method}} {{http_route}}"),)),
        Panel("p99 by route", "s", (
            Query(largest(quantile(0.99, REQUESTS, "http_request_method, http_route")),
                  "{{http_request_method}} {{http_route}}"),)),
        Panel("Requests refused by a limit", "reqps", (Query(rate("todo_limit_hits_total", "limit"), "{{limit}}"),)),
        Panel("Connections evicted and refused", "cps", (
            Query(rate("todo_connections_evicted_total"), "evicted"),
            Query(rate("todo_connections_refused_total"), "refused"))),
    )),
    Row("Database", (
        Panel("Connections of the pool", "short", (
            Query(now("todo_pool_connections_in_use"), "in use"),
            Query(now("todo_pool_connections"), "open"),
            Query(now("todo_pool_max_connections"), "POOL_MAX"))),
        Panel("Statements that wait", "short", (
            Query(now("todo_pool_waiting"), "now"),
            Query(rate("todo_pool_wait_seconds_sum"), "on average"))),
        Panel("Wait for a connection", "s", (
            Query(quantile(0.5, "todo_pool_wait_seconds"), "p50"),
            Query(quantile(0.99, "todo_pool_wait_seconds"), "p99"))),
        Panel("Failures by class of SQLSTATE", "ops", (
            Query(rate("todo_statement_errors_total", "sqlstate_class"), "{{sqlstate_class}}"),
            Query(rate("todo_pool_connect_failures_total"), "not connected"))),
        Panel("Statements", "ops", (Query(largest(rate(f"{STATEMENTS}_count", "statement")), "{{statement}}"),)),
        Panel("p99 of statements", "s", (
            Query(largest(quantile(0.99, STATEMENTS, "statement")), "{{statement}}"),)),
        Panel("Rows", "rowsps", (Query(largest(rate("todo_statement_rows_total", "statement")), "{{statement}}"),)),
        Panel("Executions in a batch, on average", "short", (
            Query(f"{rate('todo_statement_batch_size_sum', 'statement')}"
                  f" / {rate('todo_statement_batch_size_count', 'statement')}", "{{statement}}"),)),
    )),
    Row("Passwords and tokens", (
        Panel("Passwords that wait to be hashed", "short", (Query(now("todo_password_hash_queue"), "passwords"),)),
        Panel("Wait for a hashing thread", "s", (
            Query(quantile(0.5, "todo_password_hash_wait_seconds"), "p50"),
            Query(quantile(0.99, "todo_password_hash_wait_seconds"), "p99"))),
        Panel("Share of hashes refused", "percentunit", (
            Query(f"{REFUSED} / ({REFUSED} + {rate('todo_password_hash_wait_seconds_count')})", "refused"),)),
        Panel("Tokens checked", "reqps", (Query(rate("todo_token_cache_lookups_total", "result"), "{{result}}"),)),
        Panel("Tokens in the caches", "short", (Query(now("todo_token_cache_tokens"), "tokens"),)),
        Panel("Age of issuers' keys", "s", (
            Query(f"max by (issuer) (todo_issuer_keys_age_seconds{{{INSTANCE}}})", "issuer {{issuer}}"),)),
        Panel("Failed fetches of keys", "ops", (
            Query(rate("todo_issuer_key_fetch_failures_total", "issuer"), "issuer {{issuer}}"),)),
    )),
)
# fmt: on

PANELS = tuple(panel for row in ROWS for panel in row.panels)
