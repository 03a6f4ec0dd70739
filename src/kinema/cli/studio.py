"""`kinema studio`: the web page on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Studio:
    """Open the studio, a web page to make and keep videos."""

    port: int | None = None
    """Port of the page, on this machine only: by default 7860, or a free one if that is taken."""
    data: Path | None = None
    """Folder of the videos; by default a folder of its own among the user's application data."""
    model: str = "world"
    """`world` (shipped), `testcard` (colour bars), a folder, or a hub model."""
    device: str = "auto"
    """cpu, cuda, auto, or one of several GPUs: cuda:1."""
    browser: bool = True
    """Open the page in the browser."""

    def run(self) -> None:
        """Show the page until Ctrl-C. A server that dies is started again.

        Raises:
            UserError: the port is taken, a package is missing, or the server does not start.
        """
        from kinema.webui.launch import data_folder, run_studio

        run_studio(
            port=self.port,
            data=(data_folder() if self.data is None else self.data.expanduser()).absolute(),
            model=self.model,
            device=self.device,
            open_browser=self.browser,
        )
