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
    from kinema.media.probe import Probe
    from kinema.media.provenance_read import Credentials

EXIT = {"valid": 0, "tampered": 1, "unsigned": 3}
"""Exit codes, for scripts. 2 is what every command says of a mistake in what it was asked."""


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Show a film's content credentials (C2PA) and check them. Exits 0: valid, 1: tampered, 3: unsigned."""

    film: Annotated[Path, tyro.conf.Positional]
    """A film or picture."""
    json: bool = False
    """Print one JSON object for programs."""
    trust: Path | None = None
    """PEM file of certificates whose films count as known, besides your own."""

    def run(self) -> None:
        """Look, check, print."""
        from kinema.errors import UserError
        from kinema.media.probe import probe
        from kinema.media.provenance_read import credentials

        roots = b""
        if self.trust is not None:
            try:
                roots = self.trust.read_bytes()
            except OSError as error:
                raise UserError(f"can't read {self.trust}: {error.strerror}; give a PEM file") from None
        found = credentials(self.film, roots=roots)
        try:
            facts = probe(self.film)
        except UserError:
            # What was tampered with may not even play, and just then its credentials are of interest.
            if found.state != "tampered":
                raise
            facts = None
        if self.json:
            shown = None if facts is None else dataclasses.asdict(facts)
            told = {"file": str(self.film), **dataclasses.asdict(found), "film": shown}
            print(json.dumps(told, indent=2))
        else:
            print("\n".join(_clean(line) for line in _lines(self.film, found, facts)))
        sys.exit(EXIT[found.state])


def _lines(film: Path, found: Credentials, facts: Probe | None) -> list[str]:
    head = {
        "valid": "VALID: unchanged since it was signed",
        "tampered": f"TAMPERED: {'; '.join(found.problems)}",
        "unsigned": f"UNSIGNED: {'; '.join(found.problems)}",
    }
    lines = [f"{film}: {head[found.state]}"]
    if facts is not None:
        length = "" if facts.duration is None else f", {facts.duration:.2f} s"
        lines.append(f"  film       {facts.width}x{facts.height}{length}, {facts.codec}")
    if found.state == "unsigned":
        return lines
    who = "known here" if found.trust == "known" else "nobody here vouches for this name"
    lines.append(f"  signed by  {found.signer or 'no name'} ({who})")
    if found.tool:
        lines.append(f"  made with  {found.tool}")
    if found.actions:
        made = "; a trained model made it" if found.ai_made else ""
        lines.append(f"  declares   {', '.join(found.actions)}{made}")
    if found.model:
        lines.append(f"  model      {found.model}")
    if found.prompt:
        lines.append(f"  prompt     {found.prompt}")
    if found.seed is not None:
        lines.append(f"  seed       {found.seed}")
    for source in found.sources:
        role = f"{source.role}: " if source.role else ""
        lines.append(f"  made from  {role}{source.title} ({source.state})")
    return lines


def _clean(line: str) -> str:
    """Without control characters: who signed the file could else move the reader's cursor."""
    return "".join(character if character.isprintable() else "?" for character in line)
