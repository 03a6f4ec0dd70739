"""What the operator decides, as one frozen value; the server is a function of it."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path

from kinema.errors import UserError, did_you_mean
from kinema.models.formats.serialization import from_values

_OWNER_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MIN_KEY_CHARS = 8


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """One caller. Only the hash of the key is kept, so that nobody can read keys out of a file or a process.

    Attributes:
        owner: whose films these are; two keys of one owner share them.
        digest: SHA-256 of the key, hexadecimal.
    """

    owner: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What callers may ask for.

    Attributes:
        max_body_bytes: bytes of a request.
        max_image_bytes: bytes of a given picture.
        max_image_pixels: of a given picture.
        max_upload_frames: of a given film.
        max_upload_pixels: of all frames of a given film together.
        max_frame_pixels: of a frame to be made; None: sixteen times those of the model's own size.
        max_seconds: of a film to be made.
        max_frames: of a film to be made.
        max_inference_steps: of the solver.
        max_queued: films that may wait, of everybody.
        max_queued_per_owner: films that may wait, of one owner.
        job_timeout_s: seconds a film may take to be made.
        min_free_bytes: bytes of disk below which nothing new is taken.
        max_event_streams: open event streams.
    """

    max_body_bytes: int = 64 * 2**20
    max_image_bytes: int = 20 * 2**20
    max_image_pixels: int = 40_000_000
    max_upload_frames: int = 2400
    max_upload_pixels: int = 500_000_000
    max_frame_pixels: int | None = None
    max_seconds: float = 120.0
    max_frames: int = 4801
    max_inference_steps: int = 200
    max_queued: int = 2000
    max_queued_per_owner: int = 1000
    job_timeout_s: float = 6 * 3600.0
    min_free_bytes: int = 256 * 2**20
    max_event_streams: int = 256


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """Where it is told that a film is finished.

    Attributes:
        url: receives a POST for each film that is completed or failed.
        secret: `whsec_` and the signing key in base64.
    """

    url: str
    secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All of it.

    Attributes:
        data_dir: the folder of the store and the films.
        model: `world`, `testcard`, a folder, or owner/name on the hub.
        host: address to listen on.
        port: to listen on.
        workers: processes that make films; on GPUs, one for each.
        device: of the workers: auto, cpu, cuda; with several GPUs worker n takes the n-th. Or one: cuda:1.
        keys: of the callers; without any the server listens on loopback only and asks for none.
        limits: what callers may ask for.
        retention_s: seconds a finished film is kept.
        lease_s: seconds after which a worker that gives no sign is held for dead.
        max_attempts: how often a film is begun without getting on before it is given up.
        checkpoint_interval_s: seconds of work after which a film's state is saved, so that it can go on from there.
        webhook: told of finished films.
        image_hosts: names of hosts that pictures may be fetched from; by default only data URLs are taken.
        sign: whether films are signed (C2PA): how they were made stands in them, and later changes show.
        certificate: PEM file of the operator's own, to sign with; empty: a self-made one of this user.
        certificate_key: PEM file of its key, if that is another.
        origins: web pages, as `https://name`, whose scripts may call from a browser.
    """

    data_dir: Path
    model: str = "world"
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    device: str = "auto"
    keys: tuple[ApiKey, ...] = ()
    limits: Limits = field(default_factory=Limits)
    retention_s: float = 24 * 3600.0
    lease_s: float = 10.0
    max_attempts: int = 3
    checkpoint_interval_s: float = 1.0
    webhook: Webhook | None = None
    image_hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    sign: bool = False
    certificate: str = ""
    certificate_key: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise UserError(f"there is no port {self.port}; give 0 (any that is free) to 65535")
        if not 0 <= self.workers <= 64:
            raise UserError(f"{self.workers} workers are not possible; give 0 (none here) to 64")
        if self.webhook is not None and not self.webhook.secret.startswith("whsec_"):
            raise UserError("the webhook's secret begins with whsec_, followed by a key in base64")
        if not self.keys and not is_loopback(self.host):
            raise UserError(
                f"refusing to listen on {self.host} without API keys: anybody could use this machine; "
                "set KINEMA_API_KEYS or [[keys]] in the settings file, or listen on 127.0.0.1"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def hash_key(key: str) -> str:
    """The hash a key is kept as. Keys are long and random, so that one round of SHA-256 is enough."""
    return hashlib.sha256(key.encode()).hexdigest()


def parse_keys(text: str) -> tuple[ApiKey, ...]:
    """Keys from `key,key` or `owner:key,owner:key`; keys without an owner are owners of their own.

    Raises:
        UserError: a key is too short, or an owner's name has other letters than A-Z a-z 0-9 _ . -
    """
    keys = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        owner, colon, key = part.rpartition(":")
        if len(key) < _MIN_KEY_CHARS or not key.isascii():
            raise UserError(
                f"an API key has {_MIN_KEY_CHARS} or more ASCII characters; "
                'make one with: python -c "import secrets; print(secrets.token_urlsafe(24))"'
            )
        if colon and not _OWNER_NAME.fullmatch(owner):
            raise UserError(f"{owner!r} is no name for the owner of a key; use A-Z a-z 0-9 _ . -")
        digest = hash_key(key)
        keys.append(ApiKey(owner=owner or f"key-{digest[:16]}", digest=digest))
    return tuple(keys)


def read_settings(file: Path, base: Settings) -> Settings:
    """`base` with what a TOML file says: top-level settings, `[limits]`, `[webhook]` and `[[keys]]`.

    A key stands there as `owner` and `sha256`, the hash of the key: `printf %s KEY | sha256sum`.

    Raises:
        UserError: the file can't be read, or says something that is no setting.
    """
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"can't read the settings file {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not TOML: {error}") from None
    keys = []
    for entry in values.pop("keys", []):
        _reject_unknown(file, entry, ("owner", "sha256"))
        owner, digest = entry.get("owner", ""), entry.get("sha256", "")
        if not _OWNER_NAME.fullmatch(owner) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise UserError(f"{file}: each of [[keys]] has an owner (a name) and sha256 (64 hex digits)")
        keys.append(ApiKey(owner=owner, digest=digest))
    limits = from_values(Limits, values.pop("limits", {}), source=f"[limits] of {file}")
    webhook = values.pop("webhook", None)
    if webhook is not None:
        webhook = from_values(Webhook, webhook, source=f"[webhook] of {file}")
    allowed = tuple(set(Settings.__dataclass_fields__) - {"keys", "limits", "webhook", "data"})
    _reject_unknown(file, values, allowed)
    for name in ("picture_hosts", "origins"):
        if name in values:
            values[name] = tuple(values[name])
    try:
        return replace(
            base,
            **values,
            keys=(*base.keys, *keys),
            limits=limits,
            webhook=webhook or base.webhook,
        )
    except TypeError as error:
        raise UserError(f"{file}: {error}") from None


def _reject_unknown(file: Path, values: dict[str, object], allowed_names: tuple[str, ...]) -> None:
    for name in values:
        if name not in allowed_names:
            raise UserError(f"{file}: {name!r} is no setting{did_you_mean(name, allowed_names)}")


def ensure_data_dir(path: str | os.PathLike[str]) -> Path:
    """The folder, made if it must be, readable by nobody else.

    Raises:
        UserError: it can't be made or written.
    """
    folder = Path(path).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "videos").mkdir(exist_ok=True)
        (folder / "trash").mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"can't use {folder} for the films: {error.strerror}; give another --data") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder} can't be written; change its permissions or give another --data")
    return folder
