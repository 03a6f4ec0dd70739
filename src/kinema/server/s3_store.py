"""Files of the jobs in S3 or storage with its interface; the data folder holds what is worked on.

Keys are the names of `kinema.server.storage`: `PREFIX/videos/ID/attempt-TOKEN/video.mp4`. An attempt uploads
under its own token only, and `result.json` is written in the transaction that completes the job. Uploads
carry SHA-256 checksums that the service verifies; downloads are compared with the digest of the job's row.

Credentials, region and endpoint are those of boto3 (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL_S3`, ...).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kinema.atomic_io import file_sha256
from kinema.errors import UserError, missing_extra
from kinema.server.file_store import PREVIEW_FILE, SERVED_FILES, DamagedFileError, StoredResult
from kinema.server.job import FileDigest, Job, JobCreate, is_job_id
from kinema.server.job_store import StoreBusyError
from kinema.server.storage import ATTEMPT_PREFIX, LocalFileStore

log = logging.getLogger("kinema.server")

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 5
CACHE_S = 6 * 3600.0
"""A local copy that nothing has written for this long is removed."""
LINK_LIFETIME_S = 300
_RECORD, _RESULT = "job.json", "result.json"


class S3FileStore(LocalFileStore):
    """See `FileStore`.

    Args:
        data_dir: a local folder, of this machine alone.
        url: `s3://BUCKET/PREFIX`.

    Raises:
        UserError: boto3 is missing, or the bucket can't be used.
    """

    def __init__(self, data_dir: Path, url: str) -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError
        except ModuleNotFoundError:
            raise missing_extra("S3 storage", "s3") from None
        super().__init__(data_dir)
        parts = urlsplit(url)
        self._bucket, prefix = parts.netloc, parts.path.strip("/")
        self._prefix = f"{prefix}/videos/" if prefix else "videos/"
        self._service_errors, self._client_error = (BotoCoreError, ClientError), ClientError
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S, max_pool_connections=16,
            retries={"total_max_attempts": 1},
        )  # fmt: skip
        try:
            self._client = boto3.client("s3", config=config)
            self._client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            raise UserError(f"can't use the bucket {self._bucket!r}: {error}") from None
        except BotoCoreError as error:
            if not hasattr(self, "_client"):
                raise UserError(f"can't use S3 storage: {error}") from None
            log.warning("the object store can't be reached now: %s", error)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    # Requests and jobs

    def keep_incoming(self, job: JobCreate) -> None:
        """See `FileStore.keep_incoming`. The record comes last: with it, everything is there."""
        super().keep_incoming(job)
        folder = self.job_dir(job.id)
        paths = sorted(folder.iterdir(), key=lambda path: path.name == _RECORD)
        for path in paths:
            self._upload(path, job.id, path.name)

    def write_record(self, job: JobCreate, *, created_at: int) -> None:
        """See `FileStore.write_record`."""
        self.job_dir(job.id).mkdir(exist_ok=True)
        super().write_record(job, created_at=created_at)
        self._upload(self.job_dir(job.id) / _RECORD, job.id, _RECORD)

    def has_record(self, job_id: str) -> bool:
        """See `FileStore.has_record`."""
        return _RECORD in self._names_of(job_id)

    def read_record(self, job_id: str) -> tuple[JobCreate, int] | None:
        """See `FileStore.read_record`."""
        try:
            self._download(job_id, _RECORD)
        except FileNotFoundError:
            return None
        return super().read_record(job_id)

    def fetch(self, job: Job) -> None:
        """See `FileStore.fetch`."""
        requested = [name for name in self._names_of(job.id) if "/" not in name]
        for name in [*requested, *filter(None, [job.checkpoint])]:
            with contextlib.suppress(FileNotFoundError):
                if not (self.job_dir(job.id) / name).exists():
                    self._download(job.id, name)

    def share(self, job_id: str, path: Path) -> None:
        """See `FileStore.share`."""
        self._upload(path, job_id, str(path.relative_to(self.job_dir(job_id))))

    # Results

    def path(self, job: Job, name: str) -> Path:
        """See `FileStore.path`: a local copy, which is made if necessary."""
        path = super().path(job, name)
        relative = str(path.relative_to(self.job_dir(job.id)))
        if name == PREVIEW_FILE:  # It changes; the last one that is here does as well.
            with contextlib.suppress(FileNotFoundError, StoreBusyError):
                self._download(job.id, relative)
        elif not path.exists():
            with contextlib.suppress(FileNotFoundError):
                self._download(job.id, relative)
        return path

    def verified_path(self, job: Job, name: str) -> Path:
        """See `FileStore.verified_path`; a damaged local copy is replaced."""
        try:
            return super().verified_path(job, name)
        except DamagedFileError:
            self.path(job, name).unlink()
            return super().verified_path(job, name)

    def publish(self, job_id: str, attempt: str) -> dict[str, FileDigest]:
        """See `FileStore.publish`."""
        folder = self.open_attempt(job_id, attempt)
        digests = {}
        for name in SERVED_FILES:
            path = folder / name
            digests[name] = FileDigest(sha256=file_sha256(path), size=path.stat().st_size)
            self._upload(path, job_id, f"{folder.name}/{name}")
        return digests

    def write_result(self, job: Job) -> None:
        """See `FileStore.write_result`."""
        self.job_dir(job.id).mkdir(exist_ok=True)
        super().write_result(job)
        self._upload(self.job_dir(job.id) / _RESULT, job.id, _RESULT)

    def remove_result(self, job_id: str) -> None:
        """See `FileStore.remove_result`."""
        super().remove_result(job_id)
        self._delete_keys([self._key(job_id, _RESULT)])

    def read_result(self, job_id: str) -> StoredResult | None:
        """See `FileStore.read_result`."""
        try:
            path = self._download(job_id, _RESULT)
            attempt = str(json.loads(path.read_text(encoding="utf-8"))["attempt"])
            if not attempt.isalnum():
                return None
            for name in SERVED_FILES:
                self._download(job_id, f"{ATTEMPT_PREFIX}{attempt}/{name}")
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return super().read_result(job_id)

    def link(self, job: Job, name: str) -> str | None:
        """See `FileStore.link`."""
        key = self._key(job.id, f"{ATTEMPT_PREFIX}{job.attempt}/{name}")
        if not self._exists(key):
            raise FileNotFoundError(key)
        parameters = {
            "Bucket": self._bucket, "Key": key,
            "ResponseContentDisposition": f'inline; filename="{job.id}{Path(name).suffix}"',
        }  # fmt: skip
        with self._errors():
            return self._client.generate_presigned_url(
                "get_object", Params=parameters, ExpiresIn=LINK_LIFETIME_S
            )

    # Removal

    def remove_work(self, job: Job) -> None:
        """See `FileStore.remove_work`; the local copy goes altogether."""
        if job.status == "failed":
            self.remove_other_attempts(job.id, "")
        else:
            keep = {_RECORD, _RESULT, *(f"{ATTEMPT_PREFIX}{job.attempt}/{name}" for name in SERVED_FILES)}
            self._delete_names(job.id, [name for name in self._names_of(job.id) if name not in keep])
        shutil.rmtree(self.job_dir(job.id), ignore_errors=True)

    def remove_other_attempts(self, job_id: str, attempt: str) -> None:
        """See `FileStore.remove_other_attempts`. What can't be removed now goes with the job."""
        super().remove_other_attempts(job_id, attempt)
        keep = f"{ATTEMPT_PREFIX}{attempt}/"
        with contextlib.suppress(StoreBusyError):
            names = self._names_of(job_id)
            self._delete_names(
                job_id,
                [name for name in names if name.startswith(ATTEMPT_PREFIX) and not name.startswith(keep)],
            )

    def remove_attempt(self, job_id: str, attempt: str) -> None:
        """See `FileStore.remove_attempt`."""
        super().remove_attempt(job_id, attempt)
        prefix = f"{ATTEMPT_PREFIX}{attempt}/"
        self._delete_names(job_id, [name for name in self._names_of(job_id) if name.startswith(prefix)])

    def discard_incoming(self, job_id: str) -> None:
        """See `FileStore.discard_incoming`."""
        super().discard_incoming(job_id)
        with contextlib.suppress(StoreBusyError):
            self._delete_names(job_id, self._names_of(job_id))

    def delete(self, job_id: str, *, reason: str) -> bool:
        """See `FileStore.delete`."""
        try:
            self._delete_names(job_id, self._names_of(job_id))
        except StoreBusyError as error:
            log.error("can't remove %s (%s): %s", job_id, reason, error)
            return False
        return super().delete(job_id, reason=reason)

    def list_ids(self) -> set[str]:
        """See `FileStore.list_ids`."""
        ids = set()
        with self._errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix, Delimiter="/"
            )
            for page in pages:
                ids |= {
                    entry["Prefix"].removeprefix(self._prefix).rstrip("/")
                    for entry in page.get("CommonPrefixes", ())
                }
        return {name for name in ids if is_job_id(name)}

    def list_files(self, job_id: str) -> list[tuple[str, int]]:
        """See `FileStore.list_files`."""
        prefix = self._key(job_id, "")
        return sorted((entry["Key"].removeprefix(prefix), entry["Size"]) for entry in self._entries(prefix))

    def remove_leftovers(self, *, min_age_s: float) -> None:
        """See `FileStore.remove_leftovers`; also old local copies."""
        super().remove_leftovers(min_age_s=min_age_s)
        oldest = time.time() - CACHE_S
        for job_id in super().list_ids():
            folder = self.job_dir(job_id)
            with contextlib.suppress(OSError):
                if max(path.stat().st_mtime for path in [folder, *folder.rglob("*")]) < oldest:
                    shutil.rmtree(folder)

    # Objects

    def _key(self, job_id: str, name: str) -> str:
        if not is_job_id(job_id):
            raise ValueError(f"{job_id!r} is not the id of a job")
        return f"{self._prefix}{job_id}/{name}"

    def _upload(self, path: Path, job_id: str, name: str) -> None:
        with self._errors():
            self._client.upload_file(
                str(path), self._bucket, self._key(job_id, name), ExtraArgs={"ChecksumAlgorithm": "SHA256"}
            )

    def _download(self, job_id: str, name: str) -> Path:
        target = self.job_dir(job_id) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".download-")
        os.close(handle)
        try:
            with self._errors():
                self._client.download_file(self._bucket, self._key(job_id, name), temporary)
            os.replace(temporary, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        return target

    def _exists(self, key: str) -> bool:
        try:
            with self._errors():
                self._client.head_object(Bucket=self._bucket, Key=key)
        except FileNotFoundError:
            return False
        return True

    def _names_of(self, job_id: str) -> list[str]:
        prefix = self._key(job_id, "")
        return [entry["Key"].removeprefix(prefix) for entry in self._entries(prefix)]

    def _entries(self, prefix: str) -> list[dict[str, Any]]:
        with self._errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            return [entry for page in pages for entry in page.get("Contents", ())]

    def _delete_names(self, job_id: str, names: list[str]) -> None:
        self._delete_keys([self._key(job_id, name) for name in names])

    def _delete_keys(self, keys: list[str]) -> None:
        with self._errors():
            for start in range(0, len(keys), 1000):
                objects = [{"Key": key} for key in keys[start : start + 1000]]
                self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        from boto3.exceptions import Boto3Error

        try:
            yield
        except self._client_error as error:
            code = str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
            if code in ("404", "NoSuchKey", "NotFound"):
                raise FileNotFoundError(str(error)) from None
            raise StoreBusyError(f"object store: {error}") from error
        except (*self._service_errors, Boto3Error) as error:
            raise StoreBusyError(f"object store: {error}") from error
