"""All settings: name, type, default, bounds and description."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from service.settings.database_url import UnsupportedUrlError, for_asyncpg, is_postgresql_url, names_a_pooler
from service.settings.issuers import MIN_SECRET_BYTES, Issuer, IssuersError, read_issuers

ENV_FILE = ".env"
_ORIGIN = re.compile(r"https?://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_ENDPOINT = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?")
A_POSTGRESQL_URL = "a URL like postgresql://user:password@host:5432/name, special characters percent-encoded"


class SettingsError(Exception):
    """Settings are missing or bad. The text has one line for each and never contains a secret."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_file=ENV_FILE, env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    database_url: SecretStr | None = Field(
        None, description="`postgresql://user:password@host:port/name`; not set: the embedded PostgreSQL of a laptop"
    )
    database_direct_url: SecretStr | None = Field(
        None, description="the same database past any pooler, for migrations; not set: `DATABASE_URL`"
    )
    better_auth_secret: SecretStr | None = Field(
        None, description="signs and verifies tokens (HS256), 32 bytes or more; required with `DATABASE_URL`"
    )
    jwt_secret: SecretStr | None = Field(None, description="another name of `BETTER_AUTH_SECRET`")
    better_auth_secret_old: SecretStr | None = Field(
        None, description="the secret before the current one: its tokens still verify, none are signed with it"
    )
    jwt_secret_old: SecretStr | None = Field(None, description="another name of `BETTER_AUTH_SECRET_OLD`")
    auth_issuers: Annotated[tuple[Issuer, ...], NoDecode] = Field(
        (), description="other issuers whose tokens are taken: URLs, comma separated, or a JSON list"
    )
    jwt_expiration_hours: int = Field(24, ge=1, le=24 * 365, description="how long a token lives")
    token_recheck: float = Field(
        10.0, ge=0, le=300, description="seconds for which a token that was checked is not asked about again"
    )
    frontend_url: Annotated[tuple[str, ...], NoDecode] = Field(
        ("http://localhost:3000",), description="origins whose pages may call the API, comma separated"
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="port of the metrics, another than `PORT`; not set: there are none"
    )
    metrics_host: str = Field("127.0.0.1", description="address to listen on for the metrics")
    otel_exporter_otlp_endpoint: str | None = Field(
        None, description="URL of an OpenTelemetry collector (OTLP over HTTP); not set: there are no traces"
    )
    otel_service_name: str = Field("todo", description="name of the service in its traces")
    workers: int = Field(1, ge=1, le=256, description="processes that serve")
    data_dir: Path = Field(Path(".data"), description="where the embedded PostgreSQL and the generated secret live")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="`WARNING` leaves out the line for each request"
    )
    log_format: Literal["auto", "json", "text"] = Field("auto", description="`auto`: text on a terminal, else JSON")
    pool_min: int = Field(1, ge=0, le=1000, description="database connections each process keeps open")
    pool_max: int = Field(10, ge=1, le=1000, description="database connections each process opens at the most")
    pool_timeout: float = Field(
        5.0, gt=0, le=60, description="seconds a request waits for a connection, or for a password to be hashed"
    )
    database_wait: float = Field(30.0, ge=0, le=600, description="seconds a start waits for a database that is away")
    statement_timeout: float = Field(5.0, gt=0, le=60, description="seconds a statement may take")
    prepared_statements: Literal["auto", "on", "off"] = Field(
        "auto", description="`auto`: off behind a pooler, where a session is not the service's own, else on"
    )
    fast_path: Literal["auto", "off"] = Field(
        "auto",
        description="`auto`: fewer steps for each request where no signal, host route or WebSocket of Sanic's is used; "
        "`off`: never",
    )
    bcrypt_rounds: int = Field(12, ge=10, le=15, description="cost of a password's hash")
    hash_threads: int | None = Field(
        None,
        ge=1,
        le=256,
        description="threads that hash passwords in each process; not set: processors divided by `WORKERS`",
    )
    login_failures: int = Field(
        10, ge=0, le=1000, description="wrong passwords of an email from an address in `LOGIN_WINDOW`; 0: no limit"
    )
    login_failures_per_address: int = Field(
        100, ge=0, le=1000, description="failed logins from an address in `LOGIN_WINDOW`, any email; 0: no limit"
    )
    login_failures_per_email: int = Field(
        100, ge=0, le=1000, description="failed logins of an email in `LOGIN_WINDOW`, from new addresses; 0: no limit"
    )
    login_window: float = Field(900.0, gt=0, le=86400, description="seconds after which a failed login is forgotten")
    signups_per_address: int = Field(100, ge=0, le=1000, description="sign-ups from an address in an hour; 0: no limit")
    cleanup_interval: float = Field(
        3600.0,
        ge=0,
        le=86400,
        description="seconds between two deletions of expired rows while nobody signs in; 0: only after sign-ins",
    )
    changes_days: int = Field(
        90, ge=1, le=3650, description="days for which a client can read what has changed since it last asked"
    )
    idempotency_hours: int = Field(
        24,
        ge=1,
        le=720,
        description="hours for which a repeated request with its `Idempotency-Key` has the same answer",
    )
    tasks_per_user: int = Field(10_000, ge=0, le=1_000_000, description="tasks that a user may have; 0: no limit")
    trusted_proxies: int = Field(
        0,
        ge=0,
        le=10,
        description="proxies in front; the client is the entry so far from the right of `X-Forwarded-For`",
    )
    header_timeout: float = Field(
        10.0, gt=0, le=60, description="seconds in which the head of a request has to arrive, from its first byte"
    )
    body_timeout: float = Field(10.0, gt=0, le=60, description="seconds in which a body has to arrive, whole")
    idle_timeout: float = Field(
        75.0, gt=0, le=3600, description="seconds between two requests of a connection; more than a load balancer's own"
    )
    write_timeout: float = Field(
        30.0, gt=0, le=600, description="seconds after which a client that takes in nothing of its answer is cut off"
    )
    max_header_size: int = Field(8192, ge=1024, le=16384, description="bytes of the head of a request")
    max_connections: int = Field(
        1000,
        ge=10,
        le=100_000,
        description="connections of each process; beyond it those that make the least progress are closed",
    )
    connections_per_address: int | None = Field(
        None,
        ge=0,
        le=100_000,
        description="of one address; not set: half of `MAX_CONNECTIONS`; 0, or with `TRUSTED_PROXIES`: no limit",
    )
    drain: float = Field(
        2.0, ge=0, le=5, description="seconds between saying unhealthy and refusing connections, at a stop"
    )

    @field_validator("database_url", "database_direct_url")
    @classmethod
    def _is_postgresql(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not is_postgresql_url(url.get_secret_value()):
            raise _expected(A_POSTGRESQL_URL)
        return url

    @field_validator("database_url")
    @classmethod
    def _is_supported(cls, url: SecretStr | None) -> SecretStr | None:
        try:
            _ = url and for_asyncpg(url.get_secret_value())
        except UnsupportedUrlError as error:
            raise _expected(str(error)) from None
        return url

    @field_validator("better_auth_secret", "jwt_secret", "better_auth_secret_old", "jwt_secret_old")
    @classmethod
    def _is_long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
            raise _expected(f"at least {MIN_SECRET_BYTES} bytes long")
        return secret

    @field_validator("frontend_url", mode="before")
    @classmethod
    def _are_origins(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        origins = tuple(origin.strip().removesuffix("/").lower() for origin in value.split(",") if origin.strip())
        if not origins or not all(_ORIGIN.fullmatch(origin) for origin in origins):
            raise _expected("origins like https://app.example.com, comma separated; no path, no *")
        return origins

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _is_a_url(cls, value: str | None) -> str | None:
        if value is not None and not _ENDPOINT.fullmatch(value):
            raise _expected("a URL like http://127.0.0.1:4318")
        return value

    @field_validator("auth_issuers", mode="before")
    @classmethod
    def _are_issuers(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return read_issuers(value)
        except IssuersError as error:
            raise _expected(f"URLs, comma separated, or a JSON list of entries; {error}") from None

    @field_validator("log_level", "log_format", "prepared_statements", "fast_path", mode="before")
    @classmethod
    def _ignore_case(cls, value: object, info: Any) -> object:
        if not isinstance(value, str):
            return value
        return value.upper() if info.field_name == "log_level" else value.lower()

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        for name, other in (("better_auth_secret", "jwt_secret"), ("better_auth_secret_old", "jwt_secret_old")):
            values = {value for value in (getattr(self, name), getattr(self, other)) if value is not None}
            if len(values) > 1:
                raise _expected(f"the same as {other.upper()}: they are two names of one setting", name)
        if self.metrics_port == self.port:
            raise _expected("another port than PORT", "metrics_port")
        if self.pool_min > self.pool_max:
            raise _expected("no more than POOL_MAX", "pool_min")
        return self

    def places_per_address(self, connections: int) -> int:
        """The places that one address may have; 0: no limit. Behind proxies all clients have the proxies' addresses."""
        if self.trusted_proxies:
            return 0
        return connections // 2 if self.connections_per_address is None else self.connections_per_address

    @property
    def secret(self) -> str | None:
        return _revealed(self.better_auth_secret or self.jwt_secret)

    def require_secret(self) -> str:
        if self.secret is None:
            raise SettingsError("BETTER_AUTH_SECRET: should be set (32 bytes or more) when DATABASE_URL is")
        return self.secret

    @property
    def old_secret(self) -> str | None:
        return _revealed(self.better_auth_secret_old or self.jwt_secret_old)

    @property
    def dsn(self) -> str:
        if self.database_url is None:
            raise SettingsError("DATABASE_URL: should be set; there is no embedded PostgreSQL here")
        return self.database_url.get_secret_value()

    @property
    def direct_dsn(self) -> str:
        return _revealed(self.database_direct_url) or self.dsn

    def require_direct_url(self) -> str:
        """The URL for migrations. Their lock needs a session that no pooler gives to another client in between."""
        if names_a_pooler(self.direct_dsn):
            raise SettingsError("DATABASE_DIRECT_URL: should be set, to the host without -pooler, for migrations")
        return self.direct_dsn

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the name is pydantic-settings'
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        files = _FileSettingsSource(settings_cls, env_settings, dotenv_settings)
        return init_settings, files, env_settings, dotenv_settings


class _FileSettingsSource(PydanticBaseSettingsSource):
    """Reads secrets from files, as containers pass them: DATABASE_URL from the file that DATABASE_URL_FILE names."""

    def __init__(self, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource) -> None:
        super().__init__(settings_cls)
        self._environment: dict[str, str | None] = {}
        for source in reversed(sources):
            if isinstance(source, EnvSettingsSource | DotEnvSettingsSource):
                self._environment.update(source.env_vars)

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """Required by the base class, but unused: `__call__` does the work."""
        return None, field_name, field is None

    def __call__(self) -> dict[str, Any]:
        found = {}
        for name in SETTINGS_WITH_FILE:
            path = self._environment.get(f"{name.lower()}_file")
            if not path:
                continue
            if self._environment.get(name.lower()):
                raise SettingsError(f"{name}: should not be set together with {name}_FILE")
            try:
                found[name.lower()] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                raise SettingsError(f"{name}_FILE: should be a text file that can be read") from None
        return found


SETTINGS_WITH_FILE = (
    *(name.upper() for name, field in Settings.model_fields.items() if field.annotation == SecretStr | None),
    "AUTH_ISSUERS",  # an entry may contain a secret
)


def load_settings(**overrides: Any) -> Settings:
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = [_line(detail["loc"], detail) for detail in error.errors(include_url=False, include_input=False)]
        raise SettingsError("\n".join(lines)) from None


def _line(location: tuple[int | str, ...], detail: Any) -> str:
    name = detail.get("ctx", {}).get("setting") or str(location[0])
    message = detail["msg"].removeprefix("Input ")
    return f"{name.upper()}: {message}"


def _expected(what: str, setting: str | None = None) -> PydanticCustomError:
    return PydanticCustomError("setting", "should be {what}", {"what": what, "setting": setting})


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
