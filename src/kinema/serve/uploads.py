"""Pictures and films that callers give: told by their first bytes, bounded, and read in another process."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import UploadFile

from kinema.process_pool import THREAD_ENV_VARS
from kinema.serve.bodies import PictureUrl
from kinema.serve.errors import ApiError, bad
from kinema.serve.fetch import fetched
from kinema.serve.settings import Settings

SECONDS = 150.0
"""Until a process that reads a file is given up."""
_DATA_URL = re.compile(r"data:(?:image/[a-z0-9.+-]{1,40})?(?:;[a-z0-9=-]{1,40})*;base64,", re.IGNORECASE)
_CHUNK = 1 << 20
_CODES = {"picture": "invalid_image", "film": "invalid_video"}


@dataclass(frozen=True, kw_only=True)
class Given:
    """A picture or film that was taken in.

    Attributes:
        name: of its file, in the film's folder.
        width: in pixels.
        height: in pixels.
        frames: how many.
        fps: frames per second.
    """

    name: str
    width: int
    height: int
    frames: int
    fps: float


class Reading:
    """Reads what callers give, two files at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turn = asyncio.Semaphore(2)

    async def picture(self, given: UploadFile | PictureUrl, folder: Path, name: str) -> Given:
        """Take in a picture.

        Raises:
            ApiError: it is no JPEG, PNG or WebP, is damaged, or is too large.
        """
        limits = self._settings.limits
        raw = folder / f"{name}.raw"
        if isinstance(given, PictureUrl):
            data = await self._bytes(given.image_url)
            if len(data) > limits.picture:
                raise _too_large(limits.picture)
            await asyncio.to_thread(raw.write_bytes, data)
        else:
            await _copy(given, raw, limits.picture)
        head = await asyncio.to_thread(_head, raw)
        if not is_picture(head):
            raise bad("The given picture is none: JPEG, PNG and WebP are taken.", code="invalid_image")
        return await self._read("picture", raw, folder / f"{name}.png", [limits.picture_pixels])

    async def film(self, given: UploadFile, folder: Path, name: str) -> Given:
        """Take in a film.

        Raises:
            ApiError: it is no MP4, WebM or AVI, is damaged, or is too large.
        """
        limits = self._settings.limits
        raw = folder / f"{name}.raw"
        await _copy(given, raw, limits.body)
        if not is_film(await asyncio.to_thread(_head, raw)):
            raise bad("The given film is none: MP4, MOV, WebM and AVI are taken.", code="invalid_video")
        numbers = [limits.picture_pixels, limits.film_frames, limits.film_pixels]
        return await self._read("film", raw, folder / f"{name}.zip", numbers)

    async def _bytes(self, url: str) -> bytes:
        match = _DATA_URL.match(url)
        if match is None:
            if url[:5].lower() == "data:":
                raise bad("A data URL is written as data:image/png;base64,...", code="invalid_image_url")
            return await fetched(url, self._settings.picture_hosts, self._settings.limits.picture)
        if len(url) > self._settings.limits.picture * 4 // 3 + 200:
            raise _too_large(self._settings.limits.picture)
        try:
            return base64.b64decode(url[match.end() :], validate=True)
        except (binascii.Error, ValueError):
            raise bad("The data URL is not base64.", code="invalid_image_url") from None

    async def _read(self, kind: str, raw: Path, target: Path, numbers: list[int]) -> Given:
        async with self._turn:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "kinema.serve.inspect", kind, str(raw), str(target), *map(str, numbers),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_bare(),
            )  # fmt: skip
            try:
                out, said = await asyncio.wait_for(process.communicate(), SECONDS)
            except BaseException as error:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
                if isinstance(error, TimeoutError):
                    raise bad(f"The given {kind} takes too long to read.", code=_CODES[kind]) from None
                raise
        if process.returncode == 2:
            lines = said.decode("utf-8", "replace").strip().splitlines() or ["it can't be read"]
            raise bad(f"The given {kind} can't be taken: {lines[-1]}.", code=_CODES[kind])
        if process.returncode != 0:
            raise bad(f"The given {kind} can't be read within the limits of this server.", code=_CODES[kind])
        raw.unlink()
        told = json.loads(out)
        return Given(
            name=target.name,
            width=told["width"],
            height=told["height"],
            frames=told["frames"],
            fps=told["fps"],
        )


def is_picture(head: bytes) -> bool:
    """Whether a file that begins so is a JPEG, PNG or WebP."""
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    )  # fmt: skip


def is_film(head: bytes) -> bool:
    """Whether a file that begins so is an MP4, MOV, WebM, Matroska or AVI."""
    return (
        head[4:8] in (b"ftyp", b"moov", b"wide", b"mdat")
        or head.startswith(b"\x1a\x45\xdf\xa3")
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
    )


def _bare() -> dict[str, str]:
    """An environment without the server's secrets; one thread, so that memory limits mean something."""
    import os

    kept = ("PATH", "SYSTEMROOT", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in kept if name in os.environ} | dict.fromkeys(
        THREAD_ENV_VARS, "1"
    )


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


async def _copy(given: UploadFile, target: Path, most: int) -> None:
    if given.size is not None and given.size > most:
        raise _too_large(most)
    await given.seek(0)
    with target.open("wb") as file:
        while chunk := await given.read(_CHUNK):
            await asyncio.to_thread(file.write, chunk)


def _too_large(most: int) -> ApiError:
    return ApiError(
        413, f"The file is larger than the {most >> 20} MiB allowed.", code="too_large", retry=False
    )
