"""A job: one row of the `videos` table."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from dataclasses import dataclass
from typing import Literal

from kinema.pipeline.request import VideoRequest

JobStatus = Literal["queued", "in_progress", "completed", "failed"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job. Times are Unix seconds; `progress` is in percent.

    `size`, `seconds` and `prompt` are what the API reports; `request_json` is what is generated. File inputs
    of the request are file names in the job's folder.
    """

    id: str
    owner: str
    status: JobStatus
    progress: int
    step: int
    total_steps: int
    stage: str
    preview_count: int
    revision: int
    model: str
    size: str
    seconds: str
    prompt: str
    remixed_from: str | None
    request_json: str
    created_at: int
    completed_at: int | None
    expires_at: int | None
    error_code: str | None
    error_message: str | None
    attempts: int

    @property
    def request(self) -> VideoRequest:
        """The request; parsed on each access."""
        return VideoRequest.from_dict(json.loads(self.request_json), source="the request in the database")

    @property
    def is_finished(self) -> bool:
        """Whether the job is completed or failed."""
        return self.status in ("completed", "failed")


def job_from_row(row: sqlite3.Row) -> Job:
    """The job of a row; columns have the names of the fields."""
    return Job(**{field.name: row[field.name] for field in dataclasses.fields(Job)})
