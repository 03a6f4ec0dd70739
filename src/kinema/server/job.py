"""A film as the store has it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Literal, cast

from kinema.models.formats.serialization import from_json
from kinema.server.job_spec import JobSpec

JobStatus = Literal["queued", "in_progress", "completed", "failed"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A row of the store. Times are Unix seconds; `progress` is in percent.

    `size` and `seconds` are what the caller is told; what is made stands in `spec`, in JSON here: most who
    ask for a film don't need it read.
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
    spec_json: str
    created_at: int
    completed_at: int | None
    expires_at: int | None
    error_code: str | None
    error_message: str | None
    attempts: int

    @property
    def spec(self) -> JobSpec:
        """What is to be made."""
        return from_json(JobSpec, self.spec_json, source="the request in the store")

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ("completed", "failed")


def job_from_row(row: sqlite3.Row) -> Job:
    """The film of a row."""
    names = [name for name in Job.__dataclass_fields__ if name not in ("wanted_json", "status")]
    return Job(
        spec_json=row["wanted"],
        status=cast(JobStatus, row["status"]),
        **{name: row[name] for name in names},
    )
