"""`kinema live`: a video without end, in the studio's page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tyro.conf import Positional


@dataclass(frozen=True, kw_only=True)
class Live:
    """Watch a video that never ends, and change its prompt while it plays.

    kinema live "a red ball rolls to the right"
    """

    prompt: Positional[str] = ""
    """What the video shows at first; the page asks for it where it is left out."""
    port: int | None = None
    """Port of the page, on this machine only: by default 7860, or a free one if that is taken."""
    data: Path | None = None
    """Folder of saved videos; by default that of the studio."""
    model: str = "world"
    """`world` (shipped), `testcard` (colour bars), a folder, or a hub model."""
    device: str = "auto"
    """cpu, cuda, auto, or one of several GPUs: cuda:1."""
    browser: bool = True
    """Open the page in the browser."""

    def run(self) -> None:
        """Show the page until Ctrl-C.

        Raises:
            UserError: the port is taken, a package is missing, the server does not start, or the studio runs
                already.
        """
        from kinema.webui.launch import data_folder, run_studio

        run_studio(
            port=self.port,
            data=(data_folder() if self.data is None else self.data.expanduser()).absolute(),
            model=self.model,
            device=self.device,
            open_browser=self.browser,
            page=f"#/live?prompt={quote(self.prompt)}" if self.prompt else "#/live",
        )
