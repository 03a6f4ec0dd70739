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
from kinema.models.config_json import from_values

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SHORTEST_KEY = 8


@dataclass(frozen=True, kw_only=True)
class Key:
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
        body: bytes of a request.
        picture: bytes of a given picture.
        picture_pixels: of a given picture.
        film_frames: of a given film.
        film_pixels: of all frames of a given film together.
        pixels: of a frame to be made; None: sixteen times those of the model's own size.
        seconds: of a film to be made.
        frames: of a film to be made.
        steps: of the solver.
        queued: films that may wait, of everybody.
        queued_each: films that may wait, of one owner.
        job: seconds a film may take to be made.
        free: bytes of disk below which nothing new is taken.
        listeners: open event streams.
    """

    body: int = 64 * 2**20
    picture: int = 20 * 2**20
    picture_pixels: int = 40_000_000
    film_frames: int = 2400
    film_pixels: int = 500_000_000
    pixels: int | None = None
    seconds: float = 120.0
    frames: int = 4801
    steps: int = 200
    queued: int = 2000
    queued_each: int = 1000
    job: float = 6 * 3600.0
    free: int = 256 * 2**20
    listeners: int = 256


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
        data: the folder of the store and the films.
        model: `world`, `testcard`, a folder, or owner/name on the hub.
        host: address to listen on.
        port: to listen on.
        workers: processes that make films; on GPUs, one for each.
        device: of the workers: auto, cpu, cuda; with several GPUs worker n takes the n-th. Or one: cuda:1.
        keys: of the callers; without any the server listens on loopback only and asks for none.
        limits: what callers may ask for.
        keep: seconds a finished film is kept.
        lease: seconds after which a worker that gives no sign is held for dead.
        tries: how often a film is begun without getting on before it is given up.
        save: seconds of work after which a film's state is saved, so that it can go on from there.
        webhook: told of finished films.
        picture_hosts: names of hosts that pictures may be fetched from; by default only data URLs are taken.
        sign: whether films are signed (C2PA): how they were made stands in them, and later changes show.
        certificate: PEM file of the operator's own, to sign with; empty: a self-made one of this user.
        certificate_key: PEM file of its key, if that is another.
        origins: web pages, as `https://name`, whose scripts may call from a browser.
    """

    data: Path
    model: str = "world"
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    device: str = "auto"
    keys: tuple[Key, ...] = ()
    limits: Limits = field(default_factory=Limits)
    keep: float = 24 * 3600.0
    lease: float = 10.0
    tries: int = 3
    save: float = 1.0
    webhook: Webhook | None = None
    picture_hosts: tuple[str, ...] = ()
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


def digest_of(key: str) -> str:
    """The hash a key is kept as. Keys are long and random, so that one round of SHA-256 is enough."""
    return hashlib.sha256(key.encode()).hexdigest()


def keys_of(text: str) -> tuple[Key, ...]:
    """Keys from `key,key` or `owner:key,owner:key`; keys without an owner are owners of their own.

    Raises:
        UserError: a key is too short, or an owner's name has other letters than A-Z a-z 0-9 _ . -
    """
    keys = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        owner, colon, key = part.rpartition(":")
        if len(key) < _SHORTEST_KEY or not key.isascii():
            raise UserError(
                f"an API key has {_SHORTEST_KEY} or more ASCII characters; "
                'make one with: python -c "import secrets; print(secrets.token_urlsafe(24))"'
            )
        if colon and not _NAME.fullmatch(owner):
            raise UserError(f"{owner!r} is no name for the owner of a key; use A-Z a-z 0-9 _ . -")
        digest = digest_of(key)
        keys.append(Key(owner=owner or f"key-{digest[:16]}", digest=digest))
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
        _known(file, entry, ("owner", "sha256"))
        owner, digest = entry.get("owner", ""), entry.get("sha256", "")
        if not _NAME.fullmatch(owner) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise UserError(f"{file}: each of [[keys]] has an owner (a name) and sha256 (64 hex digits)")
        keys.append(Key(owner=owner, digest=digest))
    limits = from_values(Limits, values.pop("limits", {}), what=f"[limits] of {file}")
    webhook = values.pop("webhook", None)
    if webhook is not None:
        webhook = from_values(Webhook, webhook, what=f"[webhook] of {file}")
    allowed = tuple(set(Settings.__dataclass_fields__) - {"keys", "limits", "webhook", "data"})
    _known(file, values, allowed)
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


def _known(file: Path, values: dict[str, object], names: tuple[str, ...]) -> None:
    for name in values:
        if name not in names:
            raise UserError(f"{file}: {name!r} is no setting{did_you_mean(name, names)}")


def data_folder(path: str | os.PathLike[str]) -> Path:
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
