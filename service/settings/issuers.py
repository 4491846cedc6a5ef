"""AUTH_ISSUERS: who else's tokens are taken. Read from the setting, each with what makes a token of theirs good."""

import re
from ipaddress import ip_address
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationError, model_validator

from service import strict_json

MAX_ISSUER = 255
MIN_SECRET_BYTES = 32
SHARED = "HS256"

_ADDRESS = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?(/[!-~]*)?"
)

Algorithm = Literal["EdDSA", "RS256", "PS256", "ES256", "ES512", "HS256"]


class IssuersError(ValueError):
    """What is wrong with the setting, without any value of it that could be a secret."""


class UnusableError(Exception):
    """What an issuer answered is nothing that could be used."""


def _web_address(value: object) -> object:
    """https, or http where nobody else can listen."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or len(value) > MAX_ISSUER:
        raise IssuersError(f"is no URL of at most {MAX_ISSUER} characters")
    if "?" in value or "#" in value:
        raise IssuersError("has a query or a fragment")
    parts = _ADDRESS.fullmatch(value)
    if parts is None:
        raise IssuersError("is no URL like https://app.example.com")
    if parts["scheme"] == "http" and not _is_loopback(parts["host"].strip("[]")):
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
        if given.get("secret") is not None:
            defaults["algorithms"] = [SHARED]
        else:
            defaults["algorithms"] = ["EdDSA"]
            defaults["jwks_url"] = f"{given['issuer'].rstrip('/')}/api/auth/jwks"
        return defaults | given

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.audience.strip() or not self.audience.isprintable() or not self.algorithms:
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
            entries = strict_json.read(text.encode())
        except (ValueError, RecursionError):
            raise IssuersError("it is no valid JSON, or says a name twice") from None
        if not isinstance(entries, list):
            raise IssuersError("the JSON is no list")
    else:
        entries = [{"issuer": url.strip()} for url in text.split(",") if url.strip()]
    issuers = tuple(_read(number, entry) for number, entry in enumerate(entries, 1))
    if not issuers:
        raise IssuersError("there is none in it")
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
