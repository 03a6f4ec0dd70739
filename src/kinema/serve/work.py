"""What workers do with films in the store: claim one, hold it, say how far it is, end it."""

from __future__ import annotations

import os
import secrets
import socket
import sqlite3
import time

from kinema.models.config_json import to_json
from kinema.serve.served import Served
from kinema.serve.store import Store
from kinema.serve.video import Video, video_of

_MINE = "id = :id AND worker = :worker AND status = 'in_progress'"


def enter(store: Store) -> str:
    """A worker begins; its name."""
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    with store.change() as base:
        base.execute(
            "INSERT INTO workers (id, host, pid, beat) VALUES (?, ?, ?, ?)",
            (name, socket.gethostname(), os.getpid(), time.time()),
        )
    return name


def offer(store: Store, worker: str, served: Served) -> None:
    """The worker is ready, and says what it can make."""
    with store.change() as base:
        base.execute(
            "UPDATE workers SET served = ?, beat = ? WHERE id = ?", (to_json(served), time.time(), worker)
        )


def leave(store: Store, worker: str) -> None:
    """The worker ends, in good order: a film it held goes to the next one at once and no try is counted."""
    with store.change() as base:
        base.execute(
            """UPDATE videos SET lease = 0, worker = NULL, tries = max(0, tries - 1)
               WHERE worker = ? AND status = 'in_progress'""",
            (worker,),
        )
        _forget(base, worker)


def bury(store: Store, worker: str) -> None:
    """The worker died: a film it held goes to the next one at once."""
    with store.change() as base:
        base.execute(
            "UPDATE videos SET lease = 0, worker = NULL WHERE worker = ? AND status = 'in_progress'",
            (worker,),
        )
        _forget(base, worker)


def _forget(base: sqlite3.Connection, worker: str) -> None:
    # The last one to say what the model can do stays, so that a restarted server knows it at once.
    base.execute(
        """DELETE FROM workers WHERE id = :id AND (served IS NULL
               OR EXISTS (SELECT 1 FROM workers WHERE id <> :id AND served IS NOT NULL))""",
        {"id": worker},
    )
    base.execute("UPDATE workers SET beat = 0, pid = 0 WHERE id = ?", (worker,))


def beat(store: Store, worker: str, lease: float) -> None:
    """The worker lives, and holds its film for `lease` seconds more."""
    now = time.time()
    with store.change() as base:
        base.execute("UPDATE workers SET beat = ? WHERE id = ?", (now, worker))
        base.execute(
            "UPDATE videos SET lease = ? WHERE worker = ? AND status = 'in_progress'", (now + lease, worker)
        )


def claim(store: Store, worker: str, *, lease: float, tries: int) -> Video | None:
    """The film to make next: one that a dead worker left, else that of the owner whose turn it is.

    One that was begun `tries` times without getting on kills whoever takes it; see `jobs.abandon`.
    """
    now = time.time()
    values: dict[str, object] = {
        "now": now,
        "worker": worker,
        "lease": now + lease,
        "tries": tries,
    }
    if store.one(
        """SELECT 1 FROM videos WHERE status = 'queued'
           UNION ALL SELECT 1 FROM videos
           WHERE status = 'in_progress' AND lease < :now AND tries < :tries LIMIT 1""",
        values,
    ) is None:  # fmt: skip
        return None
    with store.change() as base:
        row = base.execute(
            """UPDATE videos SET status = 'in_progress', worker = :worker, lease = :lease, tries = tries + 1,
                   started_at = coalesce(started_at, :now), change = change + 1
               WHERE id = (
                   SELECT id FROM (
                       SELECT id, -1 AS turn FROM videos
                       WHERE status = 'in_progress' AND lease < :now AND tries < :tries
                       UNION ALL
                       SELECT min(videos.id), coalesce(owners.turn, 0)
                       FROM videos LEFT JOIN owners USING (owner)
                       WHERE status = 'queued' GROUP BY videos.owner
                   ) ORDER BY turn, id LIMIT 1)
               RETURNING *""",
            values,
        ).fetchone()
        if row is None:
            return None
        base.execute(
            """INSERT INTO owners (owner, turn)
               SELECT :owner, coalesce(max(turn), 0) + 1 FROM owners WHERE true
               ON CONFLICT (owner) DO UPDATE SET turn = excluded.turn""",
            {"owner": row["owner"]},
        )
        return video_of(row)


def advance(
    store: Store,
    worker: str,
    identifier: str,
    *,
    progress: int,
    stage: str,
    step: int,
    steps: int,
    preview: int,
) -> bool:
    """Say how far the film is; False where it is no longer this worker's: cancelled, deleted, taken over."""
    with store.change() as base:
        done = base.execute(
            f"""UPDATE videos SET progress = max(progress, :progress), stage = :stage, step = :step,
                   steps = :steps, preview = :preview, change = change + 1 WHERE {_MINE}""",
            {
                "id": identifier,
                "worker": worker,
                "progress": min(99, progress),
                "stage": stage,
                "step": step,
                "steps": steps,
                "preview": preview,
            },
        )
        return done.rowcount == 1


def saved(store: Store, worker: str, identifier: str) -> bool:
    """The film got on: its state is saved, and what it took to come here counts no more."""
    with store.change() as base:
        done = base.execute(
            f"UPDATE videos SET tries = 1 WHERE {_MINE}", {"id": identifier, "worker": worker}
        )
        return done.rowcount == 1


def finish(store: Store, worker: str, identifier: str, *, keep: float) -> bool:
    """The film is there; False where it is no longer this worker's."""
    now = int(time.time())
    with store.change() as base:
        done = base.execute(
            f"""UPDATE videos SET status = 'completed', progress = 100, completed_at = :now, worker = NULL,
                   expires_at = :expires, change = change + 1 WHERE {_MINE}""",
            {"id": identifier, "worker": worker, "now": now, "expires": int(now + keep)},
        )
        return done.rowcount == 1


def fail(store: Store, worker: str, identifier: str, *, code: str, message: str, keep: float) -> bool:
    """The film can't be made; False where it is no longer this worker's."""
    with store.change() as base:
        done = base.execute(
            f"""UPDATE videos SET status = 'failed', error_code = :code, error_message = :message,
                   worker = NULL, expires_at = :expires, change = change + 1 WHERE {_MINE}""",
            {
                "id": identifier,
                "worker": worker,
                "code": code,
                "message": message,
                "expires": int(time.time() + keep),
            },
        )
        return done.rowcount == 1


def mine(store: Store, worker: str, identifier: str) -> bool:
    """Whether the film is still this worker's."""
    return store.one(f"SELECT 1 FROM videos WHERE {_MINE}", {"id": identifier, "worker": worker}) is not None
