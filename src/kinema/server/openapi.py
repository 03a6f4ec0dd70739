"""Writes the OpenAPI document, from which types for clients are generated.

    python -m kinema.server.openapi > openapi.json

The output depends on nothing but the code.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from kinema.server.app import create_app
from kinema.server.openapi_schema import build_openapi
from kinema.server.settings import Settings


def dump_openapi() -> str:
    """The document of a server that requires API keys, as JSON text with sorted keys."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(data_dir=Path(folder), model="testcard", workers=0))
        document = build_openapi(app, requires_api_key=True)
        app.state.server.store.close()
    # The version changes with every release, and would change generated types with it.
    document["info"]["version"] = "0"
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(dump_openapi())
