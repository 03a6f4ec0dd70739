"""`kinema sign`: content credentials for a film."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Sign:
    """Write into a film of ours how it was made, signed (C2PA); `kinema inspect` shows and checks it."""

    video: Annotated[Path, tyro.conf.Positional]
    """A film that Kinema made."""
    certificate: Path | None = None
    """Your own, PEM, the signing certificate first; without, one is made once and kept."""
    key: Path | None = None
    """Its private key, PEM, if it is in another file."""

    def run(self) -> None:
        """Sign it where it is."""
        from kinema.errors import UserError
        from kinema.provenance.certificates import load_certificate
        from kinema.pipeline.content_credentials import sign_video

        if self.key is not None and self.certificate is None:
            raise UserError("a key signs only together with its certificate; give --certificate too")
        identity = None if self.certificate is None else load_certificate(self.certificate, self.key)
        sign_video(self.video, identity=identity)
        print(f"{self.video}: signed; look at it with: kinema inspect {self.video}")
