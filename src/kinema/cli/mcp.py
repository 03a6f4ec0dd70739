"""`kinema mcp`: tools for agents (Model Context Protocol)."""

from __future__ import annotations

import os
from dataclasses import dataclass

from kinema.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Mcp:
    """Serve tools for agents over standard input and output (Model Context Protocol)."""

    server: str = "http://127.0.0.1:8000"
    """Address of a running `kinema serve`, which also serves the tools over HTTP at /mcp."""

    def run(self) -> None:
        """Serve until standard input ends. The API key is read from KINEMA_API_KEY."""
        try:
            from kinema.server.mcp_server import serve_stdio
        except ModuleNotFoundError as error:
            raise UserError(
                f"the MCP server needs {error.name}; install it with: pip install 'kinema[mcp]'"
            ) from None
        serve_stdio(self.server, key=os.environ.get("KINEMA_API_KEY") or None)
