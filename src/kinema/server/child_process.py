"""Running a module of Kinema in a process of its own, with a time limit."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass

NICENESS = 5
"""Of processes that generate and decode: the server's own answers come first where processors are short."""


def lower_priority() -> None:
    """Let the process that has started this one go first."""
    if hasattr(os, "nice"):  # Windows has none.
        os.nice(NICENESS)


@dataclass(frozen=True, kw_only=True)
class ChildResult:
    """What a process returned.

    Attributes:
        returncode: 0; 2 for an error that the user can correct; otherwise a crash.
        output: standard output.
        error: last line of standard error.
    """

    returncode: int
    output: bytes
    error: str


async def run_module(
    module: str, *arguments: str, timeout_s: float, env: dict[str, str] | None = None
) -> ChildResult:
    """Run `python -m module`; the process is killed if the caller is cancelled.

    Args:
        module: its name.
        arguments: of the command line.
        timeout_s: after this many seconds the process is killed.
        env: the environment variables; None: those of this process.

    Raises:
        TimeoutError: the process took too long.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=env,
    )  # fmt: skip
    try:
        output, errors = await asyncio.wait_for(process.communicate(), timeout_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    return ChildResult(returncode=process.returncode or 0, output=output, error=lines[-1] if lines else "")
