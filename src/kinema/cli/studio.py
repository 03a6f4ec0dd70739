"""`kinema studio`: the web UI."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Studio:
    """Open the web UI."""

    server: str | None = None
    """Address of a running `kinema serve`; without it a server is started, which ends with the page."""
    port: int = 7860
    """Port of the page, on this machine only; 0 takes a free one and prints it."""
    data: Path = Path("kinema-data")
    """Folder of the started server."""
    model: str = "world"
    """Model of the started server: `world` (shipped), `testcard`, a folder, or a hub model."""
    device: str = "auto"
    """Device of the started server: cpu, cuda or auto."""

    def run(self) -> None:
        """Serve the page until Ctrl-C. The API key of a running server is read from KINEMA_API_KEY."""
        from kinema.errors import UserError

        try:
            from kinema.webui.launch import serve_ui
        except ModuleNotFoundError as error:
            raise UserError(
                f"the studio needs {error.name}; install it with: pip install 'kinema[studio]'"
            ) from None
        serve_ui(
            self.server,
            key=os.environ.get("KINEMA_API_KEY") or None,
            port=self.port,
            data=self.data.expanduser().absolute(),
            model=self.model,
            device=self.device,
        )
