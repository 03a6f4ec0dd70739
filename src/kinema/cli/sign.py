"""`kinema sign`: content credentials for a video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Sign:
    """Sign a video with content credentials (C2PA); `kinema inspect` shows and verifies them."""

    video: Annotated[Path, tyro.conf.Positional]
    """A video that Kinema generated."""
    certificate: Path | None = None
    """PEM file with the signing certificate first; without it a self-signed one is created and kept."""
    key: Path | None = None
    """PEM file of the private key, if the certificate's file does not contain it."""

    input: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """An input image or video that is not below the folder of the file. Repeat for several."""

    def run(self) -> None:
        """Sign the file in place."""
        from kinema.errors import UserError
        from kinema.pipeline.content_credentials import sign_video
        from kinema.provenance.certificates import load_certificate

        if self.key is not None and self.certificate is None:
            raise UserError("a key signs only together with its certificate; give --certificate too")
        identity = None if self.certificate is None else load_certificate(self.certificate, self.key)
        sign_video(self.video, identity=identity, inputs=self.input)
        print(f"{self.video}: signed; verify it with: kinema inspect {self.video}")
