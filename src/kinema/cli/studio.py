"""`kinema studio`: the page."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Studio:
    """Open a page to make films in."""

    server: str | None = None
    """Address of a running `kinema serve`; without, one is started and ends with the page."""
    port: int = 7860
    """Of the page, which only this machine reaches; 0 takes any that is free and says which."""
    data: Path = Path("kinema-data")
    """Folder of a server that is started here."""
    model: str = "world"
    """Of a server that is started here: `world` (shipped), `testcard`, a folder, or a hub model."""
    device: str = "auto"
    """Of a server that is started here: cpu, cuda or auto."""

    def run(self) -> None:
        """Serve the page until Ctrl-C. The API key of another's server comes from KINEMA_API_KEY."""
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
