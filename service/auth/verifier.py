"""Whose token it is: remembered, our own, or of an issuer that the setting names."""

from collections.abc import Awaitable
from uuid import UUID

from service.auth.claims import untrusted
from service.auth.memory import Memory
from service.auth.outside import OutsideTokens
from service.auth.tokens import Tokens


class Verifier:
    def __init__(self, own: Tokens, outside: OutsideTokens) -> None:
        self._own = own
        self._outside = outside
        self._memory = Memory()

    def user_of(self, token: str) -> UUID | Awaitable[UUID]:
        """At once, where nobody has to be asked."""
        remembered = self._memory.recall(token)
        if remembered is not None:
            return remembered
        header, claims = untrusted(token)
        if "iss" not in claims:
            return self._memory.remember(token, self._own.verify(token))
        return self._ask(token, header, claims["iss"])

    async def _ask(self, token: str, header: dict[str, object], iss: object) -> UUID:
        return self._memory.remember(token, await self._outside.verify(token, header, iss))
