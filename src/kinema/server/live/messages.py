"""Messages between the API process and the worker of a live session: a line of JSON, then bytes.

The session's request is a file in the data folder, which only this user can read; it holds the port and the
secret with which the worker proves that it has read it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

REQUEST_FILE = "request.json"
"""A session that no worker has taken."""
CLAIMED_FILE = "claimed.json"
LIVE_DIR = "live"
MAX_LINE_BYTES = 4 * 2**20


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message.

    Attributes:
        kind: what it is.
        values: its fields; plain JSON.
        data: bytes, for example of images.
    """

    kind: str
    values: dict[str, Any]
    data: bytes = b""

    def encode(self) -> bytes:
        """As it is sent."""
        head = json.dumps({"kind": self.kind, "bytes": len(self.data), "values": self.values})
        return head.encode() + b"\n" + self.data


def parse_head(line: bytes) -> tuple[str, dict[str, Any], int]:
    """Kind, fields and number of bytes that follow.

    Raises:
        ValueError: it is something else.
    """
    head = json.loads(line)
    return str(head["kind"]), dict(head["values"]), int(head["bytes"])
