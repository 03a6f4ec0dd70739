"""Telling somebody that a film is finished, as often as it takes, signed as the OpenAI client verifies it.

The store notes an event in the same transaction that ends a film, so that none is lost with the server.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import logging
import sqlite3
import time
from collections.abc import AsyncIterator

import httpx

from kinema.errors import UserError
from kinema.serve.settings import Webhook
from kinema.serve.store import Store

log = logging.getLogger("kinema.serve")

LOOK_SECONDS = 0.5
ANSWER_SECONDS = 10.0
TRIES = 8


def key_of(secret: str) -> bytes:
    """The signing key of a secret.

    Raises:
        UserError: what follows whsec_ is not base64.
    """
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise UserError("the webhook's secret is whsec_ followed by a key in base64") from None


def signature(secret: str, identifier: str, timestamp: int, body: str) -> str:
    """HMAC-SHA256 over `id.timestamp.body` (Standard Webhooks), as its header has it."""
    signed = f"{identifier}.{timestamp}.{body}".encode()
    return "v1," + base64.b64encode(hmac.new(key_of(secret), signed, hashlib.sha256).digest()).decode()


@contextlib.asynccontextmanager
async def deliver(webhook: Webhook | None, store: Store) -> AsyncIterator[None]:
    """Deliver events for the length of a block; without a webhook nobody is told.

    Raises:
        UserError: the secret is none.
    """
    if webhook is None:
        yield
        return
    key_of(webhook.secret)
    task = asyncio.create_task(_deliver(webhook, store))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _deliver(webhook: Webhook, store: Store) -> None:
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as client:
        while True:
            try:
                rows = await asyncio.to_thread(
                    store.all,
                    "SELECT * FROM events WHERE due <= :now ORDER BY due LIMIT 16",
                    {"now": time.time()},
                )
                await asyncio.gather(*(_tell(client, webhook, store, row) for row in rows))
            except sqlite3.Error as error:
                rows = []
                log.warning("the store: %s", error)
            if not rows:
                await asyncio.sleep(LOOK_SECONDS)


async def _tell(client: httpx.AsyncClient, webhook: Webhook, store: Store, row: sqlite3.Row) -> None:
    now = int(time.time())
    body = json.dumps({
        "id": row["id"], "object": "event", "created_at": row["created_at"], "type": row["kind"],
        "data": {"id": row["video"]},
    })  # fmt: skip
    try:
        answer = await client.post(
            webhook.url,
            content=body,
            headers={
                "content-type": "application/json",
                "webhook-id": row["id"],
                "webhook-timestamp": str(now),
                "webhook-signature": signature(webhook.secret, row["id"], now, body),
            },
        )
        told = answer.is_success
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        log.info("the webhook: %s", type(error).__name__)
        told = False
    tries = row["tries"] + 1
    await asyncio.to_thread(_note, store, row["id"], told or tries >= TRIES, tries)


def _note(store: Store, identifier: str, over: bool, tries: int) -> None:
    with store.change() as base:
        if over:
            base.execute("DELETE FROM events WHERE id = ?", (identifier,))
        else:
            # 1, 4, 16, ... seconds, about six hours in all.
            base.execute(
                "UPDATE events SET tries = ?, due = ? WHERE id = ?",
                (tries, time.time() + 4 ** (tries - 1), identifier),
            )
