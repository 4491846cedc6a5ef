"""Known addresses: the newest five networks from which a user logged in, as keyed digests in `users.known_networks`.

Failed logins from known and from other addresses are counted separately, so that attackers elsewhere cannot lock the
user out at a known address.
"""

import hmac

from service.background import Background
from service.db.database import Database, Row
from service.db.statements import statement
from service.settings.all_settings import Settings

REMEMBER_NETWORK = statement("accounts/remember_network", "exec")

DIGEST_BYTES = 16  # enough against collisions; kept short because each row of `users` has five


class KnownNetworks:
    def __init__(self, database: Database, background: Background, settings: Settings) -> None:
        self._database = database
        self._background = background
        # Digests under the previous secret count too, so that rotating the secret does not forget known addresses.
        secrets = [settings.require_secret(), *filter(None, [settings.old_secret])]
        self._keys = [hmac.digest(secret.encode(), b"known networks", "sha256") for secret in secrets]

    def digest(self, email: str, network: str) -> bytes:
        return self._digests(email, network)[0]

    def is_known(self, user: Row | None, email: str, network: str) -> bool:
        """Whether the user has logged in from this network. An unknown email takes the same amount of work."""
        known: list[str] = [] if user is None else user["known_networks"]
        return any(digest.hex() in known for digest in self._digests(email, network))

    def remember(self, user: Row, network: str) -> None:
        """Stores the network after a correct password. Most logins come from the same one as the last: no write.

        This runs in the background, because the write may wait for a lock on the user's row."""
        digest = self.digest(user["email"], network)
        if user["known_networks"][:1] != [digest.hex()]:
            self._background.run(self._database.execute(REMEMBER_NETWORK, user_id=user["id"], network=digest))

    def _digests(self, email: str, network: str) -> list[bytes]:
        """One digest for each secret. They include the email, so that users of one network have different digests."""
        named = f"{email}\0{network}".encode(errors="surrogatepass")
        return [hmac.digest(key, named, "sha256")[:DIGEST_BYTES] for key in self._keys]
