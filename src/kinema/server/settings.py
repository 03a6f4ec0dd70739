"""The operator's settings: flags, environment variables and a TOML file as one frozen value."""

from __future__ import annotations

import hashlib
import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from kinema.errors import UserError, did_you_mean

_MIN_KEY_CHARS = 8


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ApiKey(_Frozen):
    """The API key of one caller. Only its hash is kept: a file or memory dump contains no usable key.

    Attributes:
        owner: owner of the videos; keys of one owner share them.
        sha256: of the key, hexadecimal: `printf %s KEY | sha256sum`.
    """

    owner: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Limits(_Frozen):
    """Limits of requests.

    Attributes:
        max_body_bytes: size of an HTTP request.
        max_json_bytes: size of a JSON body or form without its files and data URLs.
        max_open_body_bytes: size of the bodies of all open requests together.
        max_open_body_bytes_per_owner: the same of one owner.
        max_connections: open connections; the oldest idle one is closed for a new one.
        max_connections_per_address: the same of one client address.
        max_image_bytes: size of an uploaded image.
        max_image_pixels: pixels of an uploaded image, and of a frame of an uploaded video.
        max_upload_frames: frames of an uploaded video.
        max_upload_seconds: length of an uploaded video.
        max_upload_pixels: pixels in all frames of an uploaded video together.
        max_frame_pixels: pixels of a generated frame; None: 16 times those of the model's default size.
        max_seconds: length of a generated video.
        max_frames: length of a generated video in frames.
        max_inference_steps: solver steps.
        max_queued: queued jobs of all owners.
        max_queued_per_owner: queued jobs of one owner.
        max_videos: stored jobs of all owners, finished ones included.
        max_videos_per_owner: stored jobs of one owner.
        max_stored_bytes: requests, inputs and finished files of all owners.
        max_stored_bytes_per_owner: those of one owner.
        max_request_bytes: a request as it is stored, without its files.
        max_worker_bytes: resident memory of a worker, which is ended above it; None: no limit.
        job_timeout_s: seconds of work after which a job is failed.
        min_free_bytes: free disk space below which new jobs are refused.
        max_event_streams: open event streams.
        max_event_streams_per_owner: the same of one owner.
        max_live_unwatched_s: seconds after which a live session without a viewer ends.
        max_live_s_while_others_wait: length of a live session while other videos are queued.
    """

    max_body_bytes: int = 64 * 2**20
    max_json_bytes: int = 2 * 2**20
    max_open_body_bytes: int = 256 * 2**20
    max_open_body_bytes_per_owner: int = 128 * 2**20
    max_connections: int = 2048
    max_connections_per_address: int = 512
    max_image_bytes: int = 20 * 2**20
    max_image_pixels: int = 40_000_000
    max_upload_frames: int = 2400
    max_upload_seconds: float = 120.0
    max_upload_pixels: int = 500_000_000
    max_frame_pixels: int | None = None
    max_seconds: float = 120.0
    max_frames: int = 4801
    max_inference_steps: int = 200
    max_queued: int = 2000
    max_queued_per_owner: int = 1000
    max_videos: int = 100_000
    max_videos_per_owner: int = 20_000
    max_stored_bytes: int = 200 * 2**30
    max_stored_bytes_per_owner: int = 50 * 2**30
    max_request_bytes: int = 512 * 2**10
    max_worker_bytes: int | None = None
    job_timeout_s: float = 6 * 3600.0
    min_free_bytes: int = 256 * 2**20
    max_event_streams: int = 256
    max_event_streams_per_owner: int = 64
    max_live_unwatched_s: float = 60.0
    max_live_s_while_others_wait: float = 900.0


class NamedLora(_Frozen):
    """A LoRA that requests may use by its name.

    Attributes:
        name: in requests and in `/v1/models`.
        path: a safetensors file, or a folder with one or with a pair for high and low noise.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    path: Path


class Webhook(_Frozen):
    """Receiver of a POST for each video that is completed or failed.

    Attributes:
        url: where events go.
        secret: `whsec_` and the signing key in base64.
    """

    url: str
    secret: str = Field(repr=False)

    @field_validator("secret")
    @classmethod
    def _check_secret(cls, secret: str) -> str:
        if not secret.startswith("whsec_"):
            raise UserError("the webhook's secret starts with whsec_, followed by a key in base64")
        return secret


def parse_keys(text: str) -> tuple[ApiKey, ...]:
    """API keys from `key,key` or `owner:key,owner:key`; a key without an owner is an owner of its own.

    Raises:
        UserError: a key is too short, or an owner's name has characters other than A-Z a-z 0-9 _ . -
    """
    keys = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        owner, colon, key = part.rpartition(":")
        if len(key) < _MIN_KEY_CHARS or not key.isascii():
            raise UserError(
                f"an API key has {_MIN_KEY_CHARS} or more ASCII characters; "
                'generate one with: python -c "import secrets; print(secrets.token_urlsafe(24))"'
            )
        digest = hash_key(key)
        try:
            keys.append(ApiKey(owner=owner if colon else f"key-{digest[:16]}", sha256=digest))
        except ValidationError:
            raise UserError(f"{owner!r} can't be the owner of a key; use A-Z a-z 0-9 _ . -") from None
    return tuple(keys)


def hash_key(key: str) -> str:
    """The hash of an API key. Keys are long and random: one round of SHA-256 is enough."""
    return hashlib.sha256(key.encode()).hexdigest()


ApiKeys = Annotated[
    tuple[ApiKey, ...],
    NoDecode,
    BeforeValidator(lambda value: parse_keys(value) if isinstance(value, str) else value),
]


class Settings(_Frozen):
    """All settings.

    Attributes:
        data_dir: the folder of the database and the videos.
        database: of the jobs: `sqlite:///FILE`, or `postgresql://...` for many servers; empty: in the data
            folder. Also from KINEMA_DATABASE.
        storage: of the files: a folder, or `s3://BUCKET/PREFIX`; empty: the data folder.
        download_links: whether the server sends files of S3 storage itself, or redirects to a signed link.
        model: `world`, `testcard`, a folder, or owner/name on the Hugging Face hub.
        host: address to listen on.
        port: to listen on; 0: any free one.
        workers: worker processes; on GPUs, one for each.
        ray: a Ray cluster that runs the workers instead: `HOST:PORT`, `ray://HOST:PORT`, or `auto`.
        min_workers: on the Ray cluster, that always run.
        max_workers: on the Ray cluster, the most.
        ray_processes_per_video: processes that generate each video together, each with a GPU of its own.
        ray_memory_bytes: memory that the Ray cluster reserves for each process; None: as much as
            `limits.max_worker_bytes`, or none.
        ray_resources: further resources of each process by name, which choose the nodes of this model.
        ray_idle_s: seconds without work after which a worker above `min_workers` is ended.
        device: of the workers: auto, cpu, cuda or cuda:1. With several GPUs worker n uses the n-th.
        api_keys: of the callers; without any, the server listens on loopback only and asks for none.
        limits: limits of requests.
        retention_s: seconds until a finished video is deleted; only time in which a server runs counts.
        delete_grace_s: seconds in which a deleted video can be restored.
        scrub: whether the digests of stored videos are checked in the background.
        lease_s: seconds without a heartbeat after which a worker counts as dead.
        max_attempts: starts of a job without a checkpoint after which it is failed.
        drain_s: seconds between SIGTERM and the end of listening, in which /readyz answers 503 so that a load
            balancer takes its requests elsewhere; new videos are refused.
        tracing: whether traces are sent with OpenTelemetry (`OTEL_EXPORTER_OTLP_ENDPOINT`).
        checkpoint_interval_s: seconds of sampling between two checkpoints.
        webhook: receiver of events.
        image_hosts: hosts that images may be downloaded from; by default only data URLs are accepted.
        callback_hosts: hosts that requests may name as receivers of their events (`callback_url`,
            `fal_webhook`); by default none.
        origins: web origins (`https://name`) whose scripts may call the API from a browser.
        studio: whether the web page is shown under /studio/.
        sign: whether videos are signed with content credentials (C2PA).
        certificate: PEM file of the operator's certificate; empty: a self-signed one of this user.
        certificate_key: PEM file of its key, if that is another file.
        loras: LoRAs that requests may use.
    """

    data_dir: Path
    database: str = Field(default="", repr=False)
    storage: str = ""
    download_links: Literal["proxy", "redirect"] = "proxy"
    model: str = "world"
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    ray: str = ""
    min_workers: int = 1
    max_workers: int = 8
    ray_processes_per_video: int = 1
    ray_memory_bytes: int | None = None
    ray_resources: dict[str, float] = {}
    ray_idle_s: float = 60.0
    device: str = "auto"
    api_keys: ApiKeys = ()
    limits: Limits = Limits()
    retention_s: float = 24 * 3600.0
    delete_grace_s: float = 24 * 3600.0
    scrub: bool = False
    lease_s: float = 10.0
    max_attempts: int = 3
    checkpoint_interval_s: float = 1.0
    drain_s: float = 0.0
    tracing: bool = False
    webhook: Webhook | None = None
    image_hosts: tuple[str, ...] = ()
    callback_hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    studio: bool = False
    sign: bool = False
    certificate: str = ""
    certificate_key: str = ""
    loras: tuple[NamedLora, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Settings:
        if not 0 <= self.port < 65536:
            raise UserError(f"there is no port {self.port}; give 0 (any free one) to 65535")
        if not 0 <= self.workers <= 64:
            raise UserError(f"{self.workers} workers are not possible; give 0 (none here) to 64")
        if self.ray:
            self._check_ray()
        if not self.api_keys and not is_loopback(self.host):
            raise UserError(
                f"refusing to listen on {self.host} without API keys: anybody could use this machine; "
                "set KINEMA_API_KEYS or [[api_keys]] in the settings file, or listen on 127.0.0.1"
            )
        names = [lora.name for lora in self.loras]
        if len(set(names)) < len(names):
            raise UserError(f"two LoRAs have one name ({', '.join(names)}); give each [[loras]] its own")
        return self

    def _check_ray(self) -> None:
        if not 1 <= self.min_workers <= self.max_workers <= 1024:
            raise UserError(
                f"from {self.min_workers} to {self.max_workers} workers is not possible; give 1 <= "
                "--min-workers <= --max-workers <= 1024"
            )
        if self.ray_processes_per_video < 1:
            raise UserError("ray_processes_per_video is 1 or more")
        if not self.database.startswith(("postgresql://", "postgres://")) or not self.storage:
            raise UserError(
                "workers on a Ray cluster need a database and files that all nodes reach; give --database "
                "postgresql://... and --storage s3://BUCKET, or a shared folder"
            )


class _Environment(BaseSettings):
    """Environment variables, for secrets only: in Kubernetes a service named kinema sets KINEMA_PORT."""

    model_config = SettingsConfigDict(
        env_prefix="KINEMA_", env_nested_delimiter="_", env_nested_max_split=1, env_ignore_empty=True
    )

    api_keys: ApiKeys = ()
    database: str = ""
    webhook: Webhook | None = None


def load_settings(file: Path | None, **flags: object) -> Settings:
    """Settings from flags, the environment and a file; for each setting the first of these that has it wins.

    The environment variables are KINEMA_API_KEYS (see `parse_keys`), KINEMA_DATABASE, KINEMA_WEBHOOK_URL
    and KINEMA_WEBHOOK_SECRET.

    Args:
        file: a TOML file with the fields of `Settings`, `[limits]`, `[webhook]`, `[[api_keys]]` and
            `[[loras]]`.
        flags: settings from the command line.

    Raises:
        UserError: a value is invalid, or the file can't be read or has an unknown setting.
    """
    values = {} if file is None else _read_toml(file)
    try:
        environment = _Environment().model_dump(exclude_unset=True)
        return Settings.model_validate({**values, **environment, **flags})
    except ValidationError as error:
        raise UserError(_describe(error, file)) from None


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"can't read the settings file {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not TOML: {error}") from None


def _describe(error: ValidationError, file: Path | None) -> str:
    """The first validation error in one line."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    *parents, name = map(str, first["loc"] or ("settings",))
    where = ".".join([*parents, name])
    if first["type"] == "extra_forbidden":
        known = {"limits": Limits, "webhook": Webhook, "api_keys": ApiKey, "loras": NamedLora}.get(
            parents[0] if parents else "", Settings
        )
        hint = did_you_mean(name, known.model_fields)
        return f"{file or 'the settings'}: {where!r} is not a setting{hint}"
    return f"{file or 'the settings'}: {where}: {first['msg']}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
