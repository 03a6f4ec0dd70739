"""`kinema serve` and `kinema work`: the HTTP API and its workers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kinema.server.settings import Settings


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
            from kinema.server.main import serve
        except ModuleNotFoundError as error:
            raise UserError(
                f"serving needs {error.name}; install it with: pip install 'kinema[serve]'"
            ) from None
        from dataclasses import replace

        from kinema.server.settings import Settings

        base = _load_settings(
            Settings(
                data_dir=self.data.expanduser().absolute(),
                port=self.port,
                model=self.model,
                workers=self.workers,
                device=self.device,
                sign=self.sign,
            ),
            self.settings,
        )
        # Last, because whether an address may be listened on depends on the keys.
        serve(base if self.host == base.host else replace(base, host=self.host))


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Make films for a server on this machine: one worker more, which may come and go."""

    data: Path = Path("kinema-data")
    """Folder of the server; the worker takes its films from there."""
    model: str = "world"
    """The server's."""
    device: str = "auto"
    """cpu, cuda, auto, or one of several GPUs: cuda:1."""
    sign: bool = False
    """As the server's."""
    settings: Path | None = None
    """The server's TOML file, if it has one."""

    def run(self) -> None:
        """Work until SIGTERM or Ctrl-C; what is under way is saved, and goes on elsewhere."""
        from kinema.errors import UserError

        try:
            from kinema.server.worker import worker_command
        except ModuleNotFoundError as error:
            raise UserError(f"working needs {error.name}; install it with: pip install kinema") from None
        from kinema.server.settings import Settings

        data = self.data.expanduser().absolute()
        if not (data / "store.sqlite").is_file():
            raise UserError(f"no server has used {data} yet; start `kinema serve --data {data}` first")
        base = Settings(data_dir=data, model=self.model, device=self.device, sign=self.sign)
        told = worker_command(_load_settings(base, self.settings), worker_index=0, attached=False)
        # In place of this process: servers know workers by their command.
        os.execv(told[0], told)


def _load_settings(base: Settings, file: Path | None) -> Settings:
    """With what the environment and a settings file say.

    Raises:
        UserError: they say something that can't be.
    """
    from dataclasses import replace

    from kinema.server.settings import Webhook, parse_keys, read_settings

    secret = os.environ.get("KINEMA_WEBHOOK_SECRET", "")
    url = os.environ.get("KINEMA_WEBHOOK_URL", "")
    base = replace(
        base,
        keys=parse_keys(os.environ.get("KINEMA_API_KEYS", "")),
        webhook=Webhook(url=url, secret=secret) if url else None,
    )
    return base if file is None else read_settings(file, base)
