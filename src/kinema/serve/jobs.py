"""What the server does with films in the store: take, find, list, cancel, delete, expire."""

from __future__ import annotations

import secrets
import sqlite3
import time
from dataclasses import dataclass

from kinema.models.config_json import to_json
from kinema.serve.served import Served
from kinema.serve.settings import Limits
from kinema.serve.store import Store
from kinema.serve.video import Video, video_of
from kinema.serve.wanted import Wanted

PREFIX = "video_"
_OPEN = "status IN ('queued', 'in_progress')"


class QueueFull(Exception):  # noqa: N818 - a state of the queue that is answered with 429, no failure
    """As many films wait as may."""


class Repeated(Exception):  # noqa: N818 - as above, 400
    """The Idempotency-Key came before, with another request."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """A film somebody asks for, and what they are told of it."""

    id: str
    owner: str
    model: str
    size: str
    seconds: str
    wanted: Wanted
    remixed_from: str | None = None
    repeat_key: str | None = None
    repeat_body: str | None = None


def new_id() -> str:
    """An identifier that nobody can guess, and that sorts after those made before it.

    Pages of a list go by it, so that a film deleted while somebody reads the list moves no other.
    """
    return f"{PREFIX}{time.time_ns():016x}{secrets.token_hex(8)}"


def is_id(text: str) -> bool:
    """Whether it can be an identifier at all; names of folders are made of it."""
    digits = text.removeprefix(PREFIX)
    return (
        len(text) == len(PREFIX) + 32 and len(digits) == 32 and all(c in "0123456789abcdef" for c in digits)
    )


Taken = tuple[Video, bool] | Exception
"""A film and whether it is new, or why there is none."""


def take_all(store: Store, orders: list[Order], limits: Limits) -> list[Taken]:
    """Put films into the queue in one transaction, and say for each how it went."""
    answers: list[Taken] = []
    with store.change() as base:
        for order in orders:
            try:
                answers.append(_take(base, order, limits))
            except (QueueFull, Repeated) as error:
                answers.append(error)
    return answers


def take(store: Store, order: Order, limits: Limits) -> tuple[Video, bool]:
    """Put a film into the queue; whether it is new, or the one taken before under the same Idempotency-Key.

    Raises:
        QueueFull: as many wait as may, of this owner or of all.
        Repeated: the Idempotency-Key came before with another request.
    """
    with store.change() as base:
        return _take(base, order, limits)


def _take(base: sqlite3.Connection, order: Order, limits: Limits) -> tuple[Video, bool]:
    if order.repeat_key is not None:
        row = base.execute(
            "SELECT * FROM videos WHERE owner = ? AND repeat_key = ?", (order.owner, order.repeat_key)
        ).fetchone()
        if row is not None:
            if row["repeat_body"] != order.repeat_body:
                raise Repeated
            return video_of(row), False
    waiting = base.execute(
        "SELECT count(*), count(*) FILTER (WHERE owner = ?) FROM videos WHERE status = 'queued'",
        (order.owner,),
    ).fetchone()
    if waiting[0] >= limits.queued or waiting[1] >= limits.queued_each:
        raise QueueFull
    row = base.execute(
        """INSERT INTO videos
               (id, owner, model, size, seconds, prompt, remixed_from, wanted, created_at,
                repeat_key, repeat_body)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *""",
        (
            order.id,
            order.owner,
            order.model,
            order.size,
            order.seconds,
            order.wanted.prompt,
            order.remixed_from,
            to_json(order.wanted),
            int(time.time()),
            order.repeat_key,
            order.repeat_body,
        ),
    ).fetchone()
    return video_of(row), True


def find(store: Store, owner: str, identifier: str) -> Video | None:
    """The owner's film of that name."""
    row = store.one(
        "SELECT * FROM videos WHERE id = :id AND owner = :owner", {"id": identifier, "owner": owner}
    )
    return None if row is None else video_of(row)


def page(
    store: Store, owner: str, *, after: str | None, limit: int, newest_first: bool
) -> tuple[list[Video], bool]:
    """Some of the owner's films, and whether more follow."""
    beyond, order = ("<", "DESC") if newest_first else (">", "ASC")
    bound = "" if after is None else f"AND id {beyond} :after"
    rows = store.all(
        f"SELECT * FROM videos WHERE owner = :owner {bound} ORDER BY id {order} LIMIT :limit",
        {"owner": owner, "after": after, "limit": limit + 1},
    )
    return [video_of(row) for row in rows[:limit]], len(rows) > limit


def cancel(store: Store, owner: str, identifier: str) -> bool:
    """End a film that is not ended; its worker stops when it next looks. False if it was ended before."""
    with store.change() as base:
        return _fail(base, "id = :id AND owner = :owner", "cancelled", "The film was cancelled.",
                     {"id": identifier, "owner": owner}) == [identifier]  # fmt: skip


def delete(store: Store, owner: str, identifier: str) -> bool:
    """Forget a film; False if there is none. Its worker stops when it next looks."""
    with store.change() as base:
        done = base.execute("DELETE FROM videos WHERE id = ? AND owner = ?", (identifier, owner))
        return done.rowcount == 1


def expire(store: Store) -> list[str]:
    """Forget the films whose time is over, and say which."""
    with store.change() as base:
        rows = base.execute("DELETE FROM videos WHERE expires_at < ? RETURNING id", (time.time(),)).fetchall()
        base.execute("DELETE FROM events WHERE created_at < ?", (time.time() - 3 * 86400,))
    return [row["id"] for row in rows]


def overdue(store: Store, seconds: float, *, keep: float) -> list[str]:
    """End the films that take longer than allowed, and say which."""
    with store.change() as base:
        return _fail(
            base,
            "status = 'in_progress' AND started_at < :before",
            "time_limit",
            f"The film took longer than the {seconds:g} seconds allowed here; ask for fewer steps, a smaller "
            "size or a shorter film.",
            {"before": time.time() - seconds, "keep": keep},
        )


def abandon(store: Store, tries: int, *, keep: float) -> list[str]:
    """End the films that were begun `tries` times without getting on, and say which: they kill workers."""
    with store.change() as base:
        return _fail(
            base,
            "status = 'in_progress' AND lease < :lapsed AND tries >= :tries",
            "worker_lost",
            f"The process that made this film died {tries} times at the same place; it may need more memory "
            "than there is. Ask for a smaller or shorter film.",
            {"lapsed": time.time(), "tries": tries, "keep": keep},
        )


def _fail(
    base: sqlite3.Connection, which: str, code: str, message: str, values: dict[str, object]
) -> list[str]:
    now = int(time.time())
    rows = base.execute(
        f"""UPDATE videos SET status = 'failed', error_code = :code, error_message = :message,
                completed_at = NULL, expires_at = CAST(:now + :keep AS INTEGER), worker = NULL,
                change = change + 1
            WHERE {which} AND {_OPEN} RETURNING id""",
        {"keep": 86400.0, **values, "code": code, "message": message, "now": now},
    ).fetchall()
    return [row["id"] for row in rows]


def failed(store: Store) -> list[str]:
    """The films that failed."""
    return [row["id"] for row in store.all("SELECT id FROM videos WHERE status = 'failed'", {})]


def known(store: Store, identifiers: list[str]) -> set[str]:
    """Which of these the store has."""
    found: set[str] = set()
    for identifier in identifiers:
        if store.one("SELECT 1 FROM videos WHERE id = :id", {"id": identifier}) is not None:
            found.add(identifier)
    return found


def counts(store: Store) -> dict[str, int]:
    """How many films are in each state."""
    rows = store.all("SELECT status, count(*) AS number FROM videos GROUP BY status", {})
    return dict.fromkeys(("queued", "in_progress", "completed", "failed"), 0) | {
        row["status"]: row["number"] for row in rows
    }


def served(store: Store) -> Served | None:
    """The model that workers last said they serve."""
    from kinema.models.config_json import from_json

    row = store.one("SELECT served FROM workers WHERE served IS NOT NULL ORDER BY beat DESC LIMIT 1", {})
    return None if row is None else from_json(Served, row["served"], what="a worker's model in the store")
