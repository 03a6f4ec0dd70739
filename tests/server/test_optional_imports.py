"""The default install: neither `import kinema` nor a server with SQLite imports an optional package."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from kinema.errors import UserError
from kinema.server.open_stores import open_file_store, open_job_store

OPTIONAL = ("ray", "psycopg", "boto3", "botocore", "s3fs", "opentelemetry.sdk", "opentelemetry.exporter")
"""FastAPI itself imports the interfaces of opentelemetry, but nothing that implements them."""
PROGRAM = f"""
import sys
sys.modules["mcp"] = None  # An extra of its own, as if it were not installed.
import json, pathlib, kinema
from kinema.server.app import create_app
from kinema.server.settings import Settings
app = create_app(Settings(data_dir=pathlib.Path(sys.argv[1]), model="testcard", workers=0))
app.state.server.store.close()
import kinema.server.worker
print(json.dumps(sorted(set({OPTIONAL!r}) & set(sys.modules))))
"""


def test_a_server_with_sqlite_imports_no_optional_package(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "data")], capture_output=True, text=True, check=True
    )
    assert json.loads(result.stdout) == []


@pytest.mark.parametrize("module", ["psycopg", "boto3"])
def test_a_missing_package_is_one_line(tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)

    def open_one():
        if module == "psycopg":
            return open_job_store(tmp_path, "postgresql://localhost/x", durable=True)
        return open_file_store(tmp_path, "s3://bucket")

    with pytest.raises(UserError, match="not installed; install them with: pip install") as caught:
        open_one()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("database", ["mysql://user:secret@host/x", "file.sqlite", "postgres:secret"])
def test_a_database_of_another_kind_is_refused_without_its_password(tmp_path, database):
    with pytest.raises(UserError, match="give sqlite:///FILE or postgresql://") as caught:
        open_job_store(tmp_path, database, durable=True)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("storage", ["gs://bucket", "s3://", "https://host/x"])
def test_a_storage_of_another_kind_is_refused(tmp_path, storage):
    with pytest.raises(UserError, match="give a folder or s3://BUCKET"):
        open_file_store(tmp_path, storage)
