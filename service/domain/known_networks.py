"""Addresses from which a user has logged in before: keyed digests, the newest five, in `users.known_networks`.

Failed logins from all other addresses are counted apart from theirs, so that strangers cannot lock the user out there.
"""

import hmac

from service.background import Background
from service.db.database import Database, Row
from service.db.statements import statement
from service.settings.all_settings import Settings

REMEMBER_NETWORK = statement("accounts/remember_network", "exec")

DIGEST_BYTES = 16  # enough that no two collide; the table `users` holds five of them a row


class KnownNetworks:
    def __init__(self, database: Database, background: Background, settings: Settings) -> None:
        self._database = database
        self._background = background
        # Under the secret before the current one an address is still known, so that rotating it forgets none.
        secrets = [settings.require_secret(), *filter(None, [settings.old_secret])]
        self._keys = [hmac.digest(secret.encode(), b"known networks", "sha256") for secret in secrets]

    def digest(self, email: str, network: str) -> bytes:
        return self._digests(email, network)[0]

    def is_known(self, user: Row | None, email: str, network: str) -> bool:
        """False for an email without an account, after the same work."""
        known: list[bytes] = [] if user is None else user["known_networks"]
        return any(digest in known for digest in self._digests(email, network))

    def remember(self, user: Row, network: str) -> None:
        """After a right password only. The write is not waited for: it may have to wait for a lock on the user's row.
        Most logins come from the address of the login before, and write nothing."""
        digest = self.digest(user["email"], network)
        if user["known_networks"][:1] != [digest]:
            self._background.run(self._database.execute(REMEMBER_NETWORK, user_id=user["id"], network=digest))

    def _digests(self, email: str, network: str) -> list[bytes]:
        """The email is part of it: one address of two users has two digests."""
        named = f"{email}\0{network}".encode(errors="surrogatepass")
        return [hmac.digest(key, named, "sha256")[:DIGEST_BYTES] for key in self._keys]
