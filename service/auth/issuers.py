"""AUTH_ISSUERS: who else's tokens are taken. Read from the setting, each with what makes a token of theirs good."""

import json
from ipaddress import ip_address
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationError, model_validator

MAX_ISSUER = 255
MIN_SECRET_BYTES = 32
SHARED = "HS256"

Algorithm = Literal["EdDSA", "RS256", "PS256", "ES256", "ES512", "HS256"]


class IssuersError(ValueError):
    """What is wrong with the setting, without any value of it that could be a secret."""


def _web_address(value: object) -> object:
    """https, or http where nobody else can listen."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or len(value) > MAX_ISSUER:
        raise IssuersError(f"is no URL of at most {MAX_ISSUER} characters")
    parts = urlsplit(value)
    if parts.scheme not in {"https", "http"} or not parts.hostname or parts.username is not None or " " in value:
        raise IssuersError("is no URL like https://app.example.com")
    if parts.query or parts.fragment:
        raise IssuersError("has a query or a fragment")
    _ = parts.port  # a ValueError of its own
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise IssuersError("must be https: over http anybody on the way could give out keys")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


WebAddress = Annotated[str, BeforeValidator(_web_address)]


class Issuer(BaseModel):
    """The defaults are those of Better Auth's jwt plugin."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    issuer: WebAddress
    jwks_url: WebAddress = ""
    audience: str = ""
    algorithms: list[Algorithm] = []
    secret: SecretStr | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not isinstance(given.get("issuer"), str):
            raise IssuersError("an entry is no object with an issuer")
        defaults: dict[str, Any] = {"audience": given["issuer"]}
        if "secret" in given:
            defaults["algorithms"] = [SHARED]
        else:
            defaults["algorithms"] = ["EdDSA"]
            defaults["jwks_url"] = f"{given['issuer'].rstrip('/')}/api/auth/jwks"
        return defaults | given

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.audience or not self.algorithms:
            raise IssuersError("an audience or a list of algorithms is empty")
        if self.secret is not None:
            if self.algorithms != [SHARED] or self.jwks_url:
                raise IssuersError("an entry with a secret has no jwks_url and no algorithm but HS256")
            if len(self.secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
                raise IssuersError(f"a secret is shorter than {MIN_SECRET_BYTES} bytes")
        elif SHARED in self.algorithms:
            raise IssuersError("HS256 needs a secret")
        return self


def read_issuers(text: str) -> tuple[Issuer, ...]:
    """URLs, comma separated, or a JSON list of entries."""
    if text.lstrip().startswith(("[", "{")):
        try:
            entries = json.loads(text)
        except ValueError:
            raise IssuersError("it is no valid JSON") from None
        if not isinstance(entries, list):
            raise IssuersError("the JSON is no list")
    else:
        entries = [{"issuer": url.strip()} for url in text.split(",") if url.strip()]
    issuers = tuple(_read(number, entry) for number, entry in enumerate(entries, 1))
    if len({each.issuer for each in issuers}) != len(issuers):
        raise IssuersError("an issuer is listed twice")
    return issuers


def _read(number: int, entry: object) -> Issuer:
    try:
        return Issuer.model_validate(entry)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        why = first["msg"].removeprefix("Value error, ")
        raise IssuersError(f"entry {number}{', ' if where else ''}{where}: {why}") from None
