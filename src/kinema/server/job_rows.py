"""Rows of the table of videos: a column for each field of `Job`, JSON where the field is not a scalar."""

from __future__ import annotations

import dataclasses
import json

from kinema.server.job import FileDigest, Job, JobSource, Labels, normalise_search_text
from kinema.server.sql_database import Row

_FIELDS = tuple(field.name for field in dataclasses.fields(Job))
INSERT = (
    f"INSERT INTO videos ({', '.join(_FIELDS)}, search_text, stored_bytes) "
    f"VALUES ({', '.join(f':{name}' for name in _FIELDS)}, :search_text, :stored_bytes)"
)


def job_from_row(row: Row) -> Job:
    """The job of a row; columns have the names of the fields."""
    return Job(
        id=row["id"],
        owner=row["owner"],
        status=row["status"],
        progress=row["progress"],
        step=row["step"],
        total_steps=row["total_steps"],
        stage=row["stage"],
        preview_count=row["preview_count"],
        revision=row["revision"],
        change=row["change"],
        model=row["model"],
        served_model=row["served_model"],
        task=row["task"],
        seed=row["seed"],
        width=row["width"],
        height=row["height"],
        size=row["size"],
        seconds=row["seconds"],
        prompt=row["prompt"],
        remixed_from=row["remixed_from"],
        request_json=row["request_json"],
        created_at=row["created_at"],
        completed_at=row["completed_at"],
        expires_at=row["expires_at"],
        expires_uptime_s=row["expires_uptime_s"],
        error_code=row["error_code"],
        error_message=row["error_message"],
        attempt=row["attempt"],
        worker_id=row["worker_id"],
        heartbeat=row["heartbeat"],
        attempts=row["attempts"],
        worked_s=row["worked_s"],
        checkpoint=row["checkpoint"],
        checkpoint_sha256=row["checkpoint_sha256"],
        file_bytes=row["file_bytes"],
        deleted_at=row["deleted_at"],
        webhook_url=row["webhook_url"],
        webhook_format=row["webhook_format"],
        num_frames=row["num_frames"],
        fps=row["fps"],
        damage=row["damage"],
        idempotency_key=row["idempotency_key"],
        request_hash=row["request_hash"],
        files={name: FileDigest(**digest) for name, digest in json.loads(row["files"]).items()},
        labels=Labels.from_json(row["labels"]),
        sources=tuple(JobSource(**source) for source in json.loads(row["sources"])),
        warnings=tuple(json.loads(row["warnings"])),
    )


def row_values(job: Job) -> dict[str, object]:
    """The columns of a job."""
    values: dict[str, object] = {name: getattr(job, name) for name in _FIELDS}
    values["files"] = json.dumps({name: dataclasses.asdict(file) for name, file in job.files.items()})
    values["labels"] = job.labels.to_json()
    values["sources"] = json.dumps([dataclasses.asdict(source) for source in job.sources])
    values["warnings"] = json.dumps(job.warnings)
    values["search_text"] = normalise_search_text(job.prompt)
    values["stored_bytes"] = stored_bytes(job)
    return values


def stored_bytes(job: Job) -> int:
    """What counts against the limits: the request, its inputs and the finished files."""
    return job.file_bytes + len(job.request_json.encode())
