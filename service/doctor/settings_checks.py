"""Settings that the service accepts and that an operator would not want."""

import difflib
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from service.doctor.finding import Finding, error, note, warning
from service.settings.all_settings import SETTINGS_WITH_FILE, Settings
from service.settings.database_url import parameters

MIN_DISTINCT_CHARACTERS = 10  # of 64 random hexadecimal digits nearly always all 16 occur
NEW_SECRET = "BETTER_AUTH_SECRET=$(openssl rand -hex 32)"  # noqa: S105 - the command that makes one

# Limits that 0 turns off, and the effect. The default of each is not 0.
LIMITS = {
    "login_failures": "a password can be guessed without end from one address",
    "login_failures_per_address": "one address can try passwords of any number of emails",
    "login_failures_per_email": "many addresses together can guess the password of one email without end",
    "signups_per_address": "one address can fill the table of users",
    "tasks_per_user": "one user can fill the disk",
}

# Variables that a platform sets whose load balancer every request comes through.
PLATFORMS = {
    "KUBERNETES_SERVICE_HOST": "Kubernetes",
    "K_SERVICE": "Cloud Run",
    "FLY_APP_NAME": "Fly.io",
    "DYNO": "Heroku",
    "RENDER": "Render",
    "RAILWAY_ENVIRONMENT": "Railway",
}
NAMES = {name.upper() for name in Settings.model_fields} | {f"{name}_FILE" for name in SETTINGS_WITH_FILE}
MIN_SIMILARITY = 0.85  # of difflib: one letter of seven differs


def check(settings: Settings, environment: Mapping[str, str], *, is_embedded: bool = False) -> Iterator[Finding]:
    """The environment, with what `.env` adds to it. For the embedded database the service makes a secret by itself."""
    yield from _secrets(settings, is_embedded=is_embedded)
    for name, effect in LIMITS.items():
        if not getattr(settings, name):
            default = Settings.model_fields[name].default
            yield warning("settings/limit-off", f"{name.upper()} is 0", effect, f"set {name.upper()}={default}")
    if settings.connections_per_address == 0 and not settings.trusted_proxies:
        yield warning(
            "settings/limit-off", "CONNECTIONS_PER_ADDRESS is 0, and no proxy is in front",
            "one address can take all MAX_CONNECTIONS", "leave CONNECTIONS_PER_ADDRESS out",
        )  # fmt: skip
    yield from _proxies(settings, environment)
    yield from _misspelled(environment)


def _secrets(settings: Settings, *, is_embedded: bool) -> Iterator[Finding]:
    if settings.secret is None:
        if settings.database_url is not None and not is_embedded:
            yield error(
                "settings/no-secret", "BETTER_AUTH_SECRET is not set", "the service does not start",
                f"set {NEW_SECRET}",
            )  # fmt: skip
        return
    if len(set(settings.secret)) < MIN_DISTINCT_CHARACTERS:
        yield warning(
            "settings/weak-secret", "BETTER_AUTH_SECRET repeats a few characters",
            "who guesses it can sign a token of any user", f"set {NEW_SECRET}, as in a rotation",
        )  # fmt: skip
    if settings.secret == settings.old_secret:
        yield warning(
            "settings/old-secret", "BETTER_AUTH_SECRET_OLD is BETTER_AUTH_SECRET",
            "the rotation has changed nothing: who knows the old secret can sign tokens", f"set {NEW_SECRET}",
        )  # fmt: skip
    for number, issuer in enumerate(settings.auth_issuers, 1):
        if issuer.secret is not None and issuer.secret.get_secret_value() in (settings.secret, settings.old_secret):
            yield error(
                "settings/shared-secret", f"the secret of entry {number} of AUTH_ISSUERS is BETTER_AUTH_SECRET",
                "that issuer can sign a token of any user here", f"set {NEW_SECRET}, as in a rotation",
            )  # fmt: skip
    for name in ("database_url", "database_direct_url"):
        url = getattr(settings, name)
        if url is not None and parameters(url.get_secret_value()).get("password") == settings.secret:
            yield warning(
                "settings/shared-secret", f"BETTER_AUTH_SECRET is the password in {name.upper()}",
                "who may read the database can sign a token of any user", f"set {NEW_SECRET}, as in a rotation",
            )  # fmt: skip


def _proxies(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    """The service speaks plain HTTP, so pages that come by https reach it through something that does not."""
    if settings.trusted_proxies:
        return
    secure = [each for each in settings.frontend_url if urlsplit(each).scheme == "https"]
    platform = next((name for variable, name in PLATFORMS.items() if environment.get(variable)), None)
    if platform is not None:
        seen = f"this is {platform}, whose load balancer is in front"
    elif secure:
        seen = f"FRONTEND_URL has {secure[0]}, and pages of https reach this service through a proxy"
    else:
        return
    yield warning(
        "settings/trusted-proxies", f"TRUSTED_PROXIES is 0; {seen}",
        "all clients count as one address: together they are limited, and one who guesses passwords locks all out",
        "set TRUSTED_PROXIES=1, or as many as append to X-Forwarded-For",
    )  # fmt: skip


def _misspelled(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Unknown variables are ignored, because the environment is full of them. One that looks like a setting is told."""
    given = {name.upper() for name in environment}
    for name in sorted(given - NAMES):
        if close := difflib.get_close_matches(name, NAMES - given, 1, MIN_SIMILARITY):
            yield note(
                "settings/unknown", f"{name} is no setting", "it is ignored", f"if it was meant so, set {close[0]}"
            )
