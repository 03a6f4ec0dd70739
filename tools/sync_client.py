"""Write the synchronous client from the asynchronous one, so that both have the same methods.

python -m tools.sync_client
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parents[1] / "src" / "kinema" / "client"
SOURCE, TARGET = CLIENT / "async_client.py", CLIENT / "sync_client.py"
_REPLACEMENTS = (
    (
        r'\A""".*?"""',
        '"""The synchronous client, written from `async_client.py` by `python -m tools.sync_client`."""',
    ),
    (r"for one event loop\.", "safe to use from several threads."),
    (r"Client of one server safe", "Client of one server, safe"),
    (r"await asyncio\.to_thread\((\w+\.\w+), (\w+)\)", r"\1(\2)"),
    (r"\(await (self\._send\(call\))\)", r"\1"),
    (r"asyncio\.sleep", "time.sleep"),
    (r"^import asyncio$", "import time"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"__a(enter|exit)__", r"__\1__"),
    (r"\.a(close|read|iter_bytes|iter_lines)\b", r".\1"),
    (r"\bAsync(Client|Iterator|BaseTransport)\b", r"\1"),
)


def sync_source(source: str) -> str:
    """The synchronous client's code, formatted."""
    for pattern, replacement in _REPLACEMENTS:
        source = re.sub(pattern, replacement, source, flags=re.M | re.S)
    for arguments in (["check", "--select", "I", "--fix", "-q"], ["format", "-q"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(TARGET), "-"]
        source = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    return source


def main() -> None:
    """Write the file."""
    TARGET.write_text(sync_source(SOURCE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
