"""Links to a video that need no API key, for answers whose clients download without one.

A link holds the id of the video, an expiry and an HMAC of both with a secret in the data folder. It gives
access to that file and to nothing else, and ends with the video.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from pathlib import Path

from starlette.requests import Request

from kinema.server.browser_session import read_secret
from kinema.server.job import Job

SECRET_FILE = "link_secret"
MAX_LIFETIME_S = 7 * 86400


class LinkSigner:
    """Makes and checks the links of a server.

    Args:
        data_dir: its data folder.
    """

    def __init__(self, data_dir: Path) -> None:
        self._secret = read_secret(data_dir / SECRET_FILE)

    def link(self, base: str, job: Job) -> str:
        """The address of the video of a completed job.

        Args:
            base: scheme and host that the client called, see `base_url`.
            job: the job.
        """
        expiry = job.expires_at or int(time.time()) + MAX_LIFETIME_S
        return f"{base}/files/{job.id}/{expiry}/{self._sign(job.id, expiry)}/{job.id}.mp4"

    def is_valid(self, job_id: str, expiry: int, signature: str) -> bool:
        """Whether the link was made here and has not expired."""
        expected = self._sign(job_id, expiry).encode()
        return hmac.compare_digest(expected, signature.encode("utf-8", "replace")) and expiry > time.time()

    def _sign(self, job_id: str, expiry: int) -> str:
        return hmac.new(self._secret, f"{job_id}.{expiry}".encode(), hashlib.sha256).hexdigest()[:40]


def base_url(request: Request) -> str:
    """Scheme and host of a request, without a slash at the end."""
    return str(request.base_url).rstrip("/")
