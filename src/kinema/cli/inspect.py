"""`kinema inspect`: what a video is, how it was generated, and whether its credentials are valid."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    from kinema.media.probe import MediaInfo
    from kinema.pipeline.metadata import GenerationMetadata
    from kinema.provenance.verify import Credentials

EXIT_CODES = {"valid": 0, "tampered": 1, "unsigned": 3, "unchecked": 4}
"""Exit codes for scripts. 2 is the code of a UserError in every command."""


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Show what a video is, how it was generated, and its content credentials (C2PA).

    Exit codes: 0 valid credentials, 1 tampered, 3 unsigned, 4 the packages that check them are not installed.
    """

    file: Annotated[Path, tyro.conf.Positional]
    """A video or an image."""
    json: bool = False
    """Print one JSON object."""
    trusted_roots: Path | None = None
    """PEM file of certificates whose signatures count as known, besides your own."""

    def run(self) -> None:
        """Read, verify and print."""
        from kinema.errors import UserError
        from kinema.media.probe import probe

        credentials = self._verify()
        try:
            media_info = probe(self.file)
        except UserError:
            # A tampered file may be unreadable as a video; its credentials are still reported.
            if credentials is None or credentials.state != "tampered":
                raise
            media_info = None
        metadata = _read_generation(media_info)
        state = "unchecked" if credentials is None else credentials.state
        if self.json:
            print(json.dumps(self._to_dict(state, credentials, media_info, metadata), indent=2))
        else:
            for line in _format_report(self.file, credentials, media_info, metadata):
                print(_replace_control_characters(line))
        sys.exit(EXIT_CODES[state])

    def _verify(self) -> Credentials | None:
        """The credentials; None where the packages that read them are not installed."""
        from kinema.errors import UserError
        from kinema.provenance.certificates import has_libraries
        from kinema.provenance.verify import verify_credentials

        if self.trusted_roots is None and not has_libraries():
            return None
        roots = b""
        if self.trusted_roots is not None:
            try:
                roots = self.trusted_roots.read_bytes()
            except OSError as error:
                raise UserError(
                    f"can't read {self.trusted_roots}: {error.strerror}; give a PEM file"
                ) from None
        return verify_credentials(self.file, roots=roots)

    def _to_dict(
        self,
        state: str,
        credentials: Credentials | None,
        media_info: MediaInfo | None,
        metadata: GenerationMetadata | None,
    ) -> dict[str, Any]:
        video = None if media_info is None else dataclasses.asdict(media_info)
        if video is not None and metadata is not None:
            # The comment is the text of `generation`.
            del video["comment"]
        return {
            "file": str(self.file),
            "state": state,
            "video": video,
            "generation": None if metadata is None else metadata.to_dict(),
            "credentials": None if credentials is None else dataclasses.asdict(credentials),
        }


def _read_generation(media_info: MediaInfo | None) -> GenerationMetadata | None:
    """What generated a video, from its file; None for videos from elsewhere."""
    from kinema.errors import UserError
    from kinema.pipeline.metadata import parse_metadata

    if media_info is None or not media_info.comment.lstrip().startswith("{"):
        return None
    try:
        return parse_metadata(media_info.comment, what="the file")
    except UserError:
        return None


def _format_report(
    file: Path,
    credentials: Credentials | None,
    media_info: MediaInfo | None,
    metadata: GenerationMetadata | None,
) -> list[str]:
    lines = [f"{file}: {_headline(credentials)}"]
    if media_info is not None:
        length = "" if media_info.duration is None else f", {media_info.duration:.2f} s"
        lines.append(f"  video      {media_info.width}x{media_info.height}{length}, {media_info.codec}")
    if credentials is not None and credentials.state != "unsigned":
        lines += _format_credentials(credentials)
    if metadata is not None:
        lines += _format_generation(metadata, is_signed=bool(credentials and credentials.prompt))
    return lines


def _headline(credentials: Credentials | None) -> str:
    from kinema.errors import missing_extra

    if credentials is None:
        return f"UNCHECKED: {missing_extra('checking content credentials', 'provenance')}"
    problems = "; ".join(credentials.problems)
    return {
        "valid": "VALID: unchanged since it was signed",
        "tampered": f"TAMPERED: {problems}",
        "unsigned": f"UNSIGNED: {problems}",
    }[credentials.state]


def _format_credentials(credentials: Credentials) -> list[str]:
    trust = "known certificate" if credentials.trust == "known" else "unknown certificate, name not verified"
    lines = [f"  signed by  {credentials.signer or 'no name'} ({trust})"]
    if credentials.tool:
        lines.append(f"  tool       {credentials.tool}")
    if credentials.actions:
        generated = "; generated by a trained model" if credentials.ai_generated else ""
        lines.append(f"  actions    {', '.join(credentials.actions)}{generated}")
    if credentials.model:
        lines.append(f"  model      {credentials.model}")
    if credentials.prompt:
        lines.append(f"  prompt     {credentials.prompt}")
    if credentials.seed is not None:
        lines.append(f"  seed       {credentials.seed}")
    for source in credentials.sources:
        role = f"{source.role}: " if source.role else ""
        lines.append(f"  source     {role}{source.title} ({source.state})")
    return lines


def _format_generation(metadata: GenerationMetadata, *, is_signed: bool) -> Iterator[str]:
    """What the file's own metadata says; nobody has signed it, so signed values come first."""
    request = metadata.request
    if not is_signed:
        yield f"  model      {metadata.model}"
        for shot in request.storyboard:
            yield f"  shot       {shot.seconds:g} s: {shot.prompt}"
        if request.prompt:
            yield f"  prompt     {request.prompt}"
        for _, written in metadata.rewritten_prompts:
            yield f"  read as    {written}"
        yield f"  seed       {request.seed}"
    settings = {
        "task": request.task,
        "steps": request.num_inference_steps,
        "guidance_scale": request.guidance_scale,
        "flow_shift": request.flow_shift,
        "upscale": request.upscale if request.upscale > 1 else None,
        "loop": request.loop or None,
        "dtype": "int8" if metadata.int8 else "fp8" if metadata.fp8 else metadata.dtype,
    }
    yield "  settings   " + ", ".join(
        f"{name} {value}" for name, value in settings.items() if value is not None
    )
    for lora in request.loras:
        yield f"  LoRA       {lora.file} at {lora.strength:g}"
    for path in request.files():
        yield f"  made from  {path}"
    yield f"  made with  Kinema {metadata.kinema}, torch {metadata.torch} on {metadata.device}"


def _replace_control_characters(line: str) -> str:
    """Replace control characters: text from a signed file could otherwise control the terminal."""
    return "".join(character if character.isprintable() else "?" for character in line)
