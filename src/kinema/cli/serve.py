"""`kinema serve`: the HTTP API and its workers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Serve the OpenAI Videos API."""

    port: int = 8000
    """To listen on; 0 takes any that is free and says which."""
    data: Path = Path("kinema-data")
    """Folder of the films and the queue; what is in it goes on when the server starts again."""
    model: str = "world"
    """`world` (shipped), `testcard` (moving bars at once, to try a client), a folder, or a hub model."""
    host: str = "127.0.0.1"
    """Address to listen on; beyond this machine only with API keys."""
    workers: int = 1
    """Processes that make films; on GPUs one for each."""
    device: str = "auto"
    """cpu, cuda or auto."""
    sign: bool = False
    """Sign films, so that they say how they were made (C2PA)."""
    settings: Path | None = None
    """TOML file with keys, limits and more; see docs/serving.md."""

    def run(self) -> None:
        """Serve until SIGTERM or Ctrl-C. API keys come from KINEMA_API_KEYS too, separated by commas."""
        from kinema.errors import UserError

        try:
            from kinema.serve.run import serve
        except ModuleNotFoundError as error:
            raise UserError(
                f"serving needs {error.name}; install it with: pip install 'kinema[serve]'"
            ) from None
        from dataclasses import replace

        from kinema.serve.settings import Settings, Webhook, keys_of, read_settings

        secret = os.environ.get("KINEMA_WEBHOOK_SECRET", "")
        url = os.environ.get("KINEMA_WEBHOOK_URL", "")
        base = Settings(
            data=self.data.expanduser().absolute(),
            port=self.port,
            model=self.model,
            workers=self.workers,
            device=self.device,
            sign=self.sign,
            keys=keys_of(os.environ.get("KINEMA_API_KEYS", "")),
            webhook=Webhook(url=url, secret=secret) if url else None,
        )
        if self.settings is not None:
            base = read_settings(self.settings, base)
        # Last, because whether an address may be listened on depends on the keys.
        serve(base if self.host == base.host else replace(base, host=self.host))
