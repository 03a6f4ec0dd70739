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
from kinema.server.errors import ApiError, bad_request
from kinema.server.remote_image import fetch_image
from kinema.server.schemas.requests import ImageUrl
from kinema.server.settings import Settings

READ_TIMEOUT_S = 150.0
"""Until a process that reads a file is given up."""
_DATA_URL = re.compile(r"data:(?:image/[a-z0-9.+-]{1,40})?(?:;[a-z0-9=-]{1,40})*;base64,", re.IGNORECASE)
_CHUNK = 1 << 20
_ERROR_CODES = {"picture": "invalid_image", "film": "invalid_video"}


@dataclass(frozen=True, kw_only=True)
class UploadedMedia:
    """A picture or film that was taken in.

    Attributes:
        file_name: of its file, in the film's folder.
        width: in pixels.
        height: in pixels.
        num_frames: how many.
        fps: frames per second.
    """

    file_name: str
    width: int
    height: int
    num_frames: int
    fps: float


class UploadReader:
    """Reads what callers give, two files at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._semaphore = asyncio.Semaphore(2)

    async def read_image(
        self, image_input: UploadFile | ImageUrl, job_dir: Path, file_stem: str
    ) -> UploadedMedia:
        """Take in a picture.

        Raises:
            ApiError: it is no JPEG, PNG or WebP, is damaged, or is too large.
        """
        limits = self._settings.limits
        raw = job_dir / f"{file_stem}.raw"
        if isinstance(image_input, ImageUrl):
            data = await self._load_image_url(image_input.image_url)
            if len(data) > limits.max_image_bytes:
                raise _too_large_error(limits.max_image_bytes)
            await asyncio.to_thread(raw.write_bytes, data)
        else:
            await _save_upload(image_input, raw, limits.max_image_bytes)
        head = await asyncio.to_thread(_read_header, raw)
        if not is_image(head):
            raise bad_request(
                "The given picture is none: JPEG, PNG and WebP are taken.", code="invalid_image"
            )
        return await self._transcode("picture", raw, job_dir / f"{file_stem}.png", [limits.max_image_pixels])

    async def read_video(self, upload: UploadFile, job_dir: Path, file_stem: str) -> UploadedMedia:
        """Take in a film.

        Raises:
            ApiError: it is no MP4, WebM or AVI, is damaged, or is too large.
        """
        limits = self._settings.limits
        raw = job_dir / f"{file_stem}.raw"
        await _save_upload(upload, raw, limits.max_body_bytes)
        if not is_video(await asyncio.to_thread(_read_header, raw)):
            raise bad_request(
                "The given film is none: MP4, MOV, WebM and AVI are taken.", code="invalid_video"
            )
        numbers = [limits.max_image_pixels, limits.max_upload_frames, limits.max_upload_pixels]
        return await self._transcode("film", raw, job_dir / f"{file_stem}.zip", numbers)

    async def _load_image_url(self, url: str) -> bytes:
        match = _DATA_URL.match(url)
        if match is None:
            if url[:5].lower() == "data:":
                raise bad_request(
                    "A data URL is written as data:image/png;base64,...", code="invalid_image_url"
                )
            return await fetch_image(url, self._settings.image_hosts, self._settings.limits.max_image_bytes)
        if len(url) > self._settings.limits.max_image_bytes * 4 // 3 + 200:
            raise _too_large_error(self._settings.limits.max_image_bytes)
        try:
            return base64.b64decode(url[match.end() :], validate=True)
        except (binascii.Error, ValueError):
            raise bad_request("The data URL is not base64.", code="invalid_image_url") from None

    async def _transcode(self, kind: str, source: Path, target: Path, limit_args: list[int]) -> UploadedMedia:
        async with self._semaphore:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "kinema.server.media_sandbox", kind, str(source), str(target), *map(str, limit_args),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_sandbox_env(),
            )  # fmt: skip
            try:
                out, said = await asyncio.wait_for(process.communicate(), READ_TIMEOUT_S)
            except BaseException as error:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
                if isinstance(error, TimeoutError):
                    raise bad_request(
                        f"The given {kind} takes too long to read.", code=_ERROR_CODES[kind]
                    ) from None
                raise
        if process.returncode == 2:
            lines = said.decode("utf-8", "replace").strip().splitlines() or ["it can't be read"]
            raise bad_request(f"The given {kind} can't be taken: {lines[-1]}.", code=_ERROR_CODES[kind])
        if process.returncode != 0:
            raise bad_request(
                f"The given {kind} can't be read within the limits of this server.", code=_ERROR_CODES[kind]
            )
        source.unlink()
        told = json.loads(out)
        return UploadedMedia(
            file_name=target.name,
            width=told["width"],
            height=told["height"],
            num_frames=told["frames"],
            fps=told["fps"],
        )


def is_image(header: bytes) -> bool:
    """Whether a file that begins so is a JPEG, PNG or WebP."""
    return (
        header.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))
        or (header[:4] == b"RIFF" and header[8:12] == b"WEBP")
    )  # fmt: skip


def is_video(header: bytes) -> bool:
    """Whether a file that begins so is an MP4, MOV, WebM, Matroska or AVI."""
    return (
        header[4:8] in (b"ftyp", b"moov", b"wide", b"mdat")
        or header.startswith(b"\x1a\x45\xdf\xa3")
        or (header[:4] == b"RIFF" and header[8:12] == b"AVI ")
    )


def _sandbox_env() -> dict[str, str]:
    """An environment without the server's secrets; one thread, so that memory limits mean something."""
    import os

    kept = ("PATH", "SYSTEMROOT", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in kept if name in os.environ} | dict.fromkeys(
        THREAD_ENV_VARS, "1"
    )


def _read_header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


async def _save_upload(upload: UploadFile, target: Path, max_bytes: int) -> None:
    if upload.size is not None and upload.size > max_bytes:
        raise _too_large_error(max_bytes)
    await upload.seek(0)
    with target.open("wb") as file:
        while chunk := await upload.read(_CHUNK):
            await asyncio.to_thread(file.write, chunk)


def _too_large_error(max_bytes: int) -> ApiError:
    return ApiError(
        413, f"The file is larger than the {max_bytes >> 20} MiB allowed.", code="too_large", retry=False
    )
