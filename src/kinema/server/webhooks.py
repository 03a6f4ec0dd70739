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
from kinema.server.database import Database
from kinema.server.settings import Webhook

log = logging.getLogger("kinema.server")

POLL_INTERVAL_S = 0.5
REQUEST_TIMEOUT_S = 10.0
MAX_ATTEMPTS = 8


def decode_secret(secret: str) -> bytes:
    """The signing key of a secret.

    Raises:
        UserError: what follows whsec_ is not base64.
    """
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise UserError("the webhook's secret is whsec_ followed by a key in base64") from None


def compute_signature(secret: str, event_id: str, timestamp: int, body: str) -> str:
    """HMAC-SHA256 over `id.timestamp.body` (Standard Webhooks), as its header has it."""
    signed = f"{event_id}.{timestamp}.{body}".encode()
    return "v1," + base64.b64encode(hmac.new(decode_secret(secret), signed, hashlib.sha256).digest()).decode()


@contextlib.asynccontextmanager
async def run_delivery(webhook: Webhook | None, database: Database) -> AsyncIterator[None]:
    """Deliver events for the length of a block; without a webhook nobody is told.

    Raises:
        UserError: the secret is none.
    """
    if webhook is None:
        yield
        return
    decode_secret(webhook.secret)
    task = asyncio.create_task(_delivery_loop(webhook, database))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _delivery_loop(webhook: Webhook, database: Database) -> None:
    async with httpx.AsyncClient(timeout=REQUEST_TIMEOUT_S, trust_env=False) as client:
        while True:
            try:
                rows = await asyncio.to_thread(
                    database.fetch_all,
                    "SELECT * FROM events WHERE due <= :now ORDER BY due LIMIT 16",
                    {"now": time.time()},
                )
                await asyncio.gather(*(_post_event(client, webhook, database, row) for row in rows))
            except sqlite3.Error as error:
                rows = []
                log.warning("the store: %s", error)
            if not rows:
                await asyncio.sleep(POLL_INTERVAL_S)


async def _post_event(
    client: httpx.AsyncClient, webhook: Webhook, database: Database, row: sqlite3.Row
) -> None:
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
                "webhook-signature": compute_signature(webhook.secret, row["id"], now, body),
            },
        )
        told = answer.is_success
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        log.info("the webhook: %s", type(error).__name__)
        told = False
    tries = row["tries"] + 1
    await asyncio.to_thread(_record_attempt, database, row["id"], told or tries >= MAX_ATTEMPTS, tries)


def _record_attempt(database: Database, event_id: str, finished: bool, attempts: int) -> None:
    with database.transaction() as base:
        if finished:
            base.execute("DELETE FROM events WHERE id = ?", (event_id,))
        else:
            # 1, 4, 16, ... seconds, about six hours in all.
            base.execute(
                "UPDATE events SET tries = ?, due = ? WHERE id = ?",
                (attempts, time.time() + 4 ** (attempts - 1), event_id),
            )
