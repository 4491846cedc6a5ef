"""The metrics that are read from the parts of the service, once a second: where each of them is counted."""

from functools import partial

from service.auth.issuer_keys import KeySet
from service.log.lines import LogOutput
from service.metrics import definitions as metrics
from service.metrics.meters import Meters, Readings
from service.server.server_context import ServerContext


def readings_of(context: ServerContext, output: LogOutput, meters: Meters) -> Readings:
    found = Readings(meters)
    pool, passwords, verifier, places = (
        context.database.pool, context.passwords, context.verifier, context.places,
    )  # fmt: skip

    found.gauge(metrics.ACTIVE_REQUESTS, lambda: places.answering)
    found.gauge(metrics.CONNECTIONS, lambda: places.taken)
    found.counter(metrics.CONNECTIONS_EVICTED, lambda: places.evicted)
    found.counter(metrics.CONNECTIONS_REFUSED, lambda: places.refused)

    found.gauge(metrics.POOL_MAX, lambda: pool.max_connections)
    found.gauge(metrics.POOL_SIZE, lambda: pool.size)
    found.gauge(metrics.POOL_IN_USE, lambda: pool.in_use)
    found.gauge(metrics.POOL_WAITING, lambda: pool.waiting)
    found.counter(metrics.POOL_CONNECT_FAILURES, lambda: pool.connect_failures)

    found.gauge(metrics.HASH_QUEUE, lambda: passwords.waiting)
    found.counter(metrics.HASH_REFUSED, lambda: passwords.refused)

    found.counter(metrics.TOKEN_LOOKUPS, lambda: verifier.hits, "hit")
    found.counter(metrics.TOKEN_LOOKUPS, lambda: verifier.rechecks, "recheck")
    found.counter(metrics.TOKEN_LOOKUPS, lambda: verifier.misses, "miss")
    found.gauge(metrics.TOKENS, lambda: verifier.cached_tokens)
    for position, keys in context.issuer_tokens.key_sets.items():
        found.gauge(metrics.KEYS_AGE, partial(_age, keys), str(position))
        found.counter(metrics.KEY_FAILURES, partial(_failures, keys), str(position))

    found.counts(metrics.LIMIT_HITS, context.limit_hits)
    found.counter(metrics.LOG_DROPPED, lambda: output.dropped)
    return found


def _age(keys: KeySet) -> float:
    return keys.age


def _failures(keys: KeySet) -> int:
    return keys.failures
