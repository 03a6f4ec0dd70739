"""`kinema inspect`: what a film is, how it was made, and whether that may be believed."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from kinema.media.probe import MediaInfo
    from kinema.provenance.verify import Credentials

EXIT_CODES = {"valid": 0, "tampered": 1, "unsigned": 3}
"""Exit codes, for scripts. 2 is what every command says of a mistake in what it was asked."""


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Show a film's content credentials (C2PA) and check them. Exits 0: valid, 1: tampered, 3: unsigned."""

    file: Annotated[Path, tyro.conf.Positional]
    """A film or picture."""
    json: bool = False
    """Print one JSON object for programs."""
    trusted_roots: Path | None = None
    """PEM file of certificates whose films count as known, besides your own."""

    def run(self) -> None:
        """Look, check, print."""
        from kinema.errors import UserError
        from kinema.media.probe import probe
        from kinema.provenance.verify import verify_credentials

        roots = b""
        if self.trusted_roots is not None:
            try:
                roots = self.trusted_roots.read_bytes()
            except OSError as error:
                raise UserError(
                    f"can't read {self.trusted_roots}: {error.strerror}; give a PEM file"
                ) from None
        found = verify_credentials(self.file, roots=roots)
        try:
            facts = probe(self.file)
        except UserError:
            # What was tampered with may not even play, and just then its credentials are of interest.
            if found.state != "tampered":
                raise
            facts = None
        if self.json:
            shown = None if facts is None else dataclasses.asdict(facts)
            told = {"file": str(self.file), **dataclasses.asdict(found), "film": shown}
            print(json.dumps(told, indent=2))
        else:
            print(
                "\n".join(_strip_control_characters(line) for line in _format_report(self.file, found, facts))
            )
        sys.exit(EXIT_CODES[found.state])


def _format_report(file: Path, credentials: Credentials, media_info: MediaInfo | None) -> list[str]:
    head = {
        "valid": "VALID: unchanged since it was signed",
        "tampered": f"TAMPERED: {'; '.join(credentials.problems)}",
        "unsigned": f"UNSIGNED: {'; '.join(credentials.problems)}",
    }
    lines = [f"{file}: {head[credentials.state]}"]
    if media_info is not None:
        length = "" if media_info.duration is None else f", {media_info.duration:.2f} s"
        lines.append(f"  film       {media_info.width}x{media_info.height}{length}, {media_info.codec}")
    if credentials.state == "unsigned":
        return lines
    who = "known here" if credentials.trust == "known" else "nobody here vouches for this name"
    lines.append(f"  signed by  {credentials.signer or 'no name'} ({who})")
    if credentials.tool:
        lines.append(f"  made with  {credentials.tool}")
    if credentials.actions:
        made = "; a trained model made it" if credentials.ai_generated else ""
        lines.append(f"  declares   {', '.join(credentials.actions)}{made}")
    if credentials.model:
        lines.append(f"  model      {credentials.model}")
    if credentials.prompt:
        lines.append(f"  prompt     {credentials.prompt}")
    if credentials.seed is not None:
        lines.append(f"  seed       {credentials.seed}")
    for source in credentials.sources:
        role = f"{source.role}: " if source.role else ""
        lines.append(f"  made from  {role}{source.title} ({source.state})")
    return lines


def _strip_control_characters(line: str) -> str:
    """Without control characters: who signed the file could else move the reader's cursor."""
    return "".join(character if character.isprintable() else "?" for character in line)
