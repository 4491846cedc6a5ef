"""Every metric: name, type, labels, meaning, buckets. docs/operating.md has the same table.

The names of `http_server_*` and their labels and buckets are those of OpenTelemetry's semantic conventions, in the
form that Prometheus gives them. A label has few values, all known to an operator: never an id, an address or a path.
"""

from typing import Literal, NamedTuple


class Metric(NamedTuple):
    name: str
    type: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    over_workers: Literal["sum", "max"] = "sum"  # how the values of all workers become one


REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)  # OpenTelemetry's
STATEMENT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
WAIT_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
BATCH_SIZES = (1, 2, 4, 8, 16)

# fmt: off
REQUEST_DURATION = Metric(
    "http_server_request_duration_seconds", "histogram",
    ("http_request_method", "http_route", "http_response_status_code"),
    "time from the head of a request to its answer, for a streamed list to its end; "
    "the route is empty when the request could not be read or no route fits",
    REQUEST_SECONDS,
)
ACTIVE_REQUESTS = Metric("http_server_active_requests", "gauge", (), "requests that are being answered")

CONNECTIONS = Metric("todo_connections", "gauge", (), "open connections of clients")
CONNECTIONS_EVICTED = Metric(
    "todo_connections_evicted_total", "counter", (), "connections that were closed to make room for new ones"
)
CONNECTIONS_REFUSED = Metric(
    "todo_connections_refused_total", "counter", (), "connections that got 503 because all places were taken"
)

POOL_MAX = Metric("todo_pool_max_connections", "gauge", (), "`POOL_MAX` of all workers together")
POOL_SIZE = Metric("todo_pool_connections", "gauge", (), "open connections to the database")
POOL_IN_USE = Metric(
    "todo_pool_connections_in_use", "gauge", (), "connections that run a statement or are being opened"
)
POOL_WAITING = Metric("todo_pool_waiting", "gauge", (), "statements that wait for a connection")
POOL_WAIT = Metric(
    "todo_pool_wait_seconds", "histogram", (),
    "time that statements waited for a connection; those that got one at once are not in it", WAIT_SECONDS,
)
POOL_CONNECT_FAILURES = Metric(
    "todo_pool_connect_failures_total", "counter", (), "connections to the database that could not be opened"
)

STATEMENT_DURATION = Metric(
    "todo_statement_duration_seconds", "histogram", ("statement",),
    "time from sending a statement of `sql/` to its rows; a batch counts once", STATEMENT_SECONDS,
)
STATEMENT_ROWS = Metric("todo_statement_rows_total", "counter", ("statement",), "rows that were returned or changed")
STATEMENT_ERRORS = Metric(
    "todo_statement_errors_total", "counter", ("statement", "sqlstate_class"),
    "statements that failed, by the first two characters of SQLSTATE (`55`: a lock, after which it is sent again); "
    "`none`: the connection was lost, or `STATEMENT_TIMEOUT` is over",
)
BATCH_SIZE = Metric(
    "todo_statement_batch_size", "histogram", ("statement",),
    "executions in one message, of statements that can be batched", BATCH_SIZES,
)

HASH_QUEUE = Metric("todo_password_hash_queue", "gauge", (), "passwords that wait for a thread to be hashed")
HASH_WAIT = Metric(
    "todo_password_hash_wait_seconds", "histogram", (), "time that passwords waited for a thread", WAIT_SECONDS
)
HASH_REFUSED = Metric(
    "todo_password_hash_refused_total", "counter", (),
    "logins and sign-ups that got 503 because their hash would take longer than `POOL_TIMEOUT`, or did",
)

TOKEN_LOOKUPS = Metric(
    "todo_token_cache_lookups_total", "counter", ("result",),
    "requests with a token: `hit`: it is known; `recheck`: known, and the database is asked again; `miss`: verified",
)
TOKENS = Metric("todo_token_cache_tokens", "gauge", (), "tokens in the caches of all workers")
KEYS_AGE = Metric(
    "todo_issuer_keys_age_seconds", "gauge", ("issuer",),
    "seconds since the last successful fetch of an issuer's keys, in the worker with the oldest; `+Inf`: none so far; "
    "`issuer` is the position in `AUTH_ISSUERS`, from 1",
    over_workers="max",
)
KEY_FAILURES = Metric("todo_issuer_key_fetch_failures_total", "counter", ("issuer",), "fetches of keys that failed")

LIMIT_HITS = Metric(
    "todo_limit_hits_total", "counter", ("limit",),
    "requests that a limit of logins, sign-ups or tasks has refused, by the limit as the log names it",
)
LOG_DROPPED = Metric("todo_log_lines_dropped_total", "counter", (), "lines of the log that its reader did not take")
WORKER_STARTS = Metric(
    "todo_worker_starts_total", "counter", (), "starts of worker processes: those beyond `WORKERS` are restarts"
)
BUILD_INFO = Metric("todo_build_info", "gauge", ("version", "python_version"), "1; the labels say what runs")
# fmt: on

METRICS: tuple[Metric, ...] = tuple(each for each in list(globals().values()) if isinstance(each, Metric))
