"""Uploaded images and videos: recognised by their first bytes, decoded in another process."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from starlette.datastructures import UploadFile

from kinema.process_pool import THREAD_ENV_VARS
from kinema.server.child_process import run_module
from kinema.server.errors import ApiError, bad_request
from kinema.server.fair_slots import FairSlots, TooManyWaitingError
from kinema.server.remote_image import fetch_image
from kinema.server.schemas.requests import ImageUrl
from kinema.server.settings import Settings

DECODE_TIMEOUTS_S = {"image": 30.0, "video": 180.0}
"""Time limits of the process that decodes one file; its CPU time has lower ones."""
MAX_CONCURRENT_DECODES = 2
MAX_WAITING_PER_OWNER = 16
"""Files of one owner that wait to be decoded."""
_DATA_URL = re.compile(r"data:(?:image/[a-z0-9.+-]{1,40})?(?:;[a-z0-9=-]{1,40})*;base64,", re.IGNORECASE)
_CHUNK_BYTES = 1 << 20
_SANDBOX_ENV_VARS = (
    "PATH",
    "SYSTEMROOT",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "VIRTUAL_ENV",
)


@dataclass(frozen=True, kw_only=True)
class UploadedMedia:
    """A decoded image or video.

    Attributes:
        file_name: of the decoded file, in the job's folder.
        width: in pixels.
        height: in pixels.
        num_frames: 1 for an image.
        fps: frames per second; 0 for an image.
    """

    file_name: str
    width: int
    height: int
    num_frames: int
    fps: float


class UploadReader:
    """Stores uploads in a job's folder; the stored files contain nothing of the upload but its pixels."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._slots = FairSlots(MAX_CONCURRENT_DECODES, max_waiting_per_owner=MAX_WAITING_PER_OWNER)

    async def read_image(
        self, image_input: UploadFile | ImageUrl, job_dir: Path, file_stem: str, *, owner: str
    ) -> UploadedMedia:
        """Decode an image into a PNG.

        Args:
            image_input: the upload or URL.
            job_dir: where the PNG goes.
            file_stem: its name without the suffix.
            owner: who sent it; owners take turns.

        Raises:
            ApiError: it is not a JPEG, PNG or WebP, is damaged, or is too large; or too many are waiting.
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
        if not is_image(await asyncio.to_thread(_read_header, raw)):
            raise bad_request("The file is not an image; send JPEG, PNG or WebP.", code="invalid_image")
        return await self._transcode(
            "image", raw, job_dir / f"{file_stem}.png", [limits.max_image_pixels], owner
        )

    async def read_video(
        self, upload: UploadFile, job_dir: Path, file_stem: str, *, owner: str
    ) -> UploadedMedia:
        """Decode a video into a zip of PNG images.

        Args:
            upload: the file.
            job_dir: where the zip goes.
            file_stem: its name without the suffix.
            owner: who sent it; owners take turns.

        Raises:
            ApiError: it is not an MP4, MOV, WebM or AVI, is damaged, too long or too large; or too many are
                waiting.
        """
        limits = self._settings.limits
        raw = job_dir / f"{file_stem}.raw"
        await _save_upload(upload, raw, limits.max_body_bytes)
        if not is_video(await asyncio.to_thread(_read_header, raw)):
            raise bad_request("The file is not a video; send MP4, MOV, WebM or AVI.", code="invalid_video")
        return await self._transcode(
            "video",
            raw,
            job_dir / f"{file_stem}.zip",
            [
                limits.max_image_pixels,
                limits.max_upload_frames,
                limits.max_upload_pixels,
                limits.max_upload_seconds,
            ],
            owner,
        )

    async def _load_image_url(self, url: str) -> bytes:
        match = _DATA_URL.match(url)
        max_bytes = self._settings.limits.max_image_bytes
        if match is None:
            if url[:5].lower() == "data:":
                raise bad_request(
                    "A data URL has the form data:image/png;base64,...", code="invalid_image_url"
                )
            return await fetch_image(url, self._settings.image_hosts, max_bytes)
        if len(url) > max_bytes * 4 // 3 + 200:
            raise _too_large_error(max_bytes)
        try:
            return base64.b64decode(url[match.end() :], validate=True)
        except (binascii.Error, ValueError):
            raise bad_request("The data URL is not valid base64.", code="invalid_image_url") from None

    async def _transcode(
        self, kind: Literal["image", "video"], source: Path, target: Path, limits: Sequence[float], owner: str
    ) -> UploadedMedia:
        code = f"invalid_{kind}"
        try:
            async with self._slots.acquire(owner):
                result = await run_module(
                    "kinema.server.media_sandbox", kind, str(source), str(target), *map(str, limits),
                    timeout_s=DECODE_TIMEOUTS_S[kind], env=_sandbox_env(),
                )  # fmt: skip
        except TooManyWaitingError:
            raise ApiError(
                429, f"{MAX_WAITING_PER_OWNER} of your files wait to be decoded; send fewer at a time.",
                code="too_many_uploads", headers={"retry-after-ms": "2000", "retry-after": "2"},
            ) from None  # fmt: skip
        except TimeoutError:
            raise bad_request(f"The {kind} takes too long to decode.", code=code) from None
        if result.returncode == 2:
            reason = result.error or "it can't be read"
            raise bad_request(f"The {kind} can't be used: {reason}.", code=code)
        if result.returncode != 0:
            raise bad_request(f"The {kind} can't be decoded within this server's limits.", code=code)
        source.unlink()
        return UploadedMedia(file_name=target.name, **json.loads(result.output))


def is_image(header: bytes) -> bool:
    """Whether the first bytes are those of a JPEG, PNG or WebP."""
    return (
        header.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))
        or (header[:4] == b"RIFF" and header[8:12] == b"WEBP")
    )  # fmt: skip


def is_video(header: bytes) -> bool:
    """Whether the first bytes are those of an MP4, MOV, WebM, Matroska or AVI."""
    return (
        header[4:8] in (b"ftyp", b"moov", b"wide", b"mdat")
        or header.startswith(b"\x1a\x45\xdf\xa3")
        or (header[:4] == b"RIFF" and header[8:12] == b"AVI ")
    )


def _sandbox_env() -> dict[str, str]:
    """The environment without the server's secrets, and single-threaded, so that memory limits hold."""
    env = {name: os.environ[name] for name in _SANDBOX_ENV_VARS if name in os.environ}
    return env | dict.fromkeys(THREAD_ENV_VARS, "1")


def _read_header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


async def _save_upload(upload: UploadFile, target: Path, max_bytes: int) -> None:
    if upload.size is not None and upload.size > max_bytes:
        raise _too_large_error(max_bytes)
    await upload.seek(0)
    with target.open("wb") as file:
        while chunk := await upload.read(_CHUNK_BYTES):
            await asyncio.to_thread(file.write, chunk)


def _too_large_error(max_bytes: int) -> ApiError:
    return ApiError(
        413, f"The file is larger than the {max_bytes >> 20} MiB allowed.", code="too_large", retry=False
    )
