"""A film as the store has it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Literal, cast

from kinema.models.config_json import from_json
from kinema.serve.wanted import Wanted

Status = Literal["queued", "in_progress", "completed", "failed"]


@dataclass(frozen=True, kw_only=True)
class Video:
    """A row of the store. Times are Unix seconds; `progress` is in percent.

    `size` and `seconds` are what the caller is told; what is made stands in `wanted`, in JSON here: most who
    ask for a film don't need it read.
    """

    id: str
    owner: str
    status: Status
    progress: int
    step: int
    steps: int
    stage: str
    preview: int
    change: int
    model: str
    size: str
    seconds: str
    prompt: str
    remixed_from: str | None
    wanted_json: str
    created_at: int
    completed_at: int | None
    expires_at: int | None
    error_code: str | None
    error_message: str | None
    tries: int

    @property
    def wanted(self) -> Wanted:
        """What is to be made."""
        return from_json(Wanted, self.wanted_json, what="the request in the store")

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ("completed", "failed")


def video_of(row: sqlite3.Row) -> Video:
    """The film of a row."""
    names = [name for name in Video.__dataclass_fields__ if name not in ("wanted_json", "status")]
    return Video(
        wanted_json=row["wanted"],
        status=cast(Status, row["status"]),
        **{name: row[name] for name in names},
    )
