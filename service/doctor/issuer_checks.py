"""The issuers of AUTH_ISSUERS: whether their keys can be fetched from here and used, and how old the service's are."""

from collections.abc import Iterator

import httpx
from prometheus_client.parser import text_string_to_metric_families

from service.auth.issuer_keys import REFRESH_AFTER_SECONDS, read_keys
from service.auth.key_download import download
from service.auth.key_fetch import TIMEOUT_SECONDS
from service.doctor.finding import Finding, error, note, warning
from service.metrics.definitions import KEY_FAILURES, KEYS_AGE
from service.settings.all_settings import Settings
from service.settings.issuers import Issuer, UnusableError

OLD_SECONDS = 2 * REFRESH_AFTER_SECONDS


def check(settings: Settings) -> Iterator[Finding]:
    for issuer in settings.auth_issuers:
        if issuer.secret is None:
            yield from _keys(issuer)
    if settings.metrics_port is not None and any(each.secret is None for each in settings.auth_issuers):
        yield from _ages(settings, settings.metrics_port)


def _keys(issuer: Issuer) -> Iterator[Finding]:
    """Fetches the keys as the service does."""
    try:
        body = download(issuer.jwks_url, TIMEOUT_SECONDS)
    except (OSError, UnusableError) as failure:
        yield error(
            "issuers/unreachable", f"{issuer.jwks_url} does not answer with keys ({_printable(failure)})",
            f"tokens of {issuer.issuer} are refused once the keys that were fetched before are a day old",
            f"try: curl -fsS {issuer.jwks_url}",
        )  # fmt: skip
        return
    try:
        read_keys(body, issuer.algorithms)
    except (ValueError, RecursionError, UnusableError) as failure:
        yield error(
            "issuers/no-usable-key",
            f"no key of {issuer.jwks_url} can be used with {', '.join(issuer.algorithms)} ({_printable(failure)})",
            f"every token of {issuer.issuer} is refused",
            "compare the issuer's algorithm with `algorithms` in AUTH_ISSUERS",
        )  # fmt: skip


def _ages(settings: Settings, port: int) -> Iterator[Finding]:
    """Reads the age of the keys from the metrics of the service that runs here."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.metrics_host, settings.metrics_host)  # noqa: S104 - read
    try:
        text = httpx.get(f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics", trust_env=False).text
        values = _values(text)
    except (httpx.HTTPError, ValueError):
        yield note(
            "issuers/age", f"no metrics of a running service at METRICS_PORT={port}",
            "the age of its keys is not known", "run the doctor beside the service",
        )  # fmt: skip
        return
    for number, issuer in enumerate(settings.auth_issuers, 1):
        age, failures = (values.get((name, str(number)), 0.0) for name in (KEYS_AGE.name, KEY_FAILURES.name))
        if age > OLD_SECONDS and failures:
            yield warning(
                "issuers/age",
                f"the service has {'no keys' if age == float('inf') else f'keys {age:.0f} s old'} of {issuer.issuer}, "
                f"and {failures:.0f} fetches have failed",
                "tokens with a new key are refused, and all of them after a day",
                "look for `keys of` in the log of the service",
            )  # fmt: skip


def _values(text: str) -> dict[tuple[str, str], float]:
    return {
        (sample.name, sample.labels["issuer"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "issuer" in sample.labels
    }


def _printable(failure: Exception) -> str:
    """On one line, in ASCII and cut: the issuer's answer can influence this text."""
    return ascii(str(failure) or type(failure).__name__)[1:-1][:200]
