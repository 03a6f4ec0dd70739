"""Sessions of browsers: a signed cookie in place of the API key, which `<img>` and `<video>` can't send.

The cookie names the key by its hash and an expiry, signed with a secret in the data folder. It ends when it
expires, when the key is withdrawn, or when the operator deletes the secret. Scripts can't read it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Iterable
from pathlib import Path

from kinema.server.settings import ApiKey

COOKIE_NAME = "kinema_session"
LIFETIME_S = 12 * 3600
SESSION_SECRET_FILE = "session_secret"
_ID_CHARS = 16


class BrowserSessions:
    """Makes and checks the cookies of a server.

    Args:
        data_dir: its data folder.
        api_keys: the keys that are valid now.
    """

    def __init__(self, data_dir: Path, api_keys: Iterable[ApiKey]) -> None:
        self._secret = read_secret(data_dir / SESSION_SECRET_FILE)
        self._keys = {key.sha256[:_ID_CHARS]: key for key in api_keys}

    def create(self, key: ApiKey) -> str:
        """The value of a new cookie."""
        expiry = str(int(time.time()) + LIFETIME_S)
        return f"{key.sha256[:_ID_CHARS]}.{expiry}.{self._sign(key, expiry)}"

    def find_key(self, cookie: str) -> ApiKey | None:
        """The key of a cookie; None if it is not one of this server, has expired, or its key is withdrawn."""
        name, _, rest = cookie.partition(".")
        expiry, _, signature = rest.partition(".")
        key = self._keys.get(name)
        if key is None or not expiry.isascii() or not expiry.isdigit() or len(expiry) > 12:
            return None
        if not hmac.compare_digest(self._sign(key, expiry).encode(), signature.encode("utf-8", "replace")):
            return None
        return key if int(expiry) > time.time() else None

    def _sign(self, key: ApiKey, expiry: str) -> str:
        return hmac.new(self._secret, f"{key.sha256}.{expiry}".encode(), hashlib.sha256).hexdigest()


def read_secret(path: Path) -> bytes:
    """The secret, made at the first start. Only this user can read the file."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_bytes()
        if len(secret) >= 32:
            return secret
        path.unlink()
        return read_secret(path)
    with os.fdopen(descriptor, "wb") as file:
        secret = secrets.token_bytes(32)
        file.write(secret)
    return secret
