"""What only PostgreSQL has: restarts, several servers at once, migrations of its tables."""

from __future__ import annotations

import contextlib
import importlib.util
import threading

import pytest

from kinema.cli import main
from kinema.errors import UserError
from kinema.server import postgres_schema
from kinema.server.job import QueueFullError
from kinema.server.job_store import StoreBusyError
from kinema.server.open_stores import open_file_store
from kinema.server.postgres_store import PostgresJobStore
from kinema.server.settings import Limits
from tests.fixtures.job_stores import create, job_create
from tests.fixtures.postgres import find_programs, shared_server

pytestmark = pytest.mark.skipif(
    find_programs() is None or importlib.util.find_spec("psycopg") is None,
    reason="needs a PostgreSQL server (Debian: postgresql) and psycopg",
)


@pytest.fixture
def open_one(request):
    with contextlib.ExitStack() as stack:
        url = shared_server().url(f"only_{abs(hash(request.node.name))}")

        def open_store() -> PostgresJobStore:
            store = PostgresJobStore(url)
            stack.callback(store.close)
            return store

        yield open_store


def test_a_store_reconnects_after_the_database_has_ended_its_connections(open_one):
    store, other = open_one(), open_one()
    job = create(store)
    assert store.lead()
    assert not other.lead()
    other._database.fetch_all(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'kinema' AND pid <> pg_backend_pid()",
        {},
    )
    assert store.get(job.id, owner=None) == job
    create(store)
    assert other.lead() != store.lead()


def test_limits_and_keys_hold_across_servers(open_one):
    stores, limits, results = [open_one() for _ in range(3)], Limits(max_queued=10), []

    def submit(store: PostgresJobStore, number: int) -> None:
        for index in range(6):
            with contextlib.suppress(StoreBusyError):
                results.extend(store.create([job_create(f"owner-{number}")], limits))
                results.extend(
                    store.create([job_create("x", idempotency_key=f"{index % 2}", request_hash="h")], limits)
                )

    threads = [threading.Thread(target=submit, args=pair) for pair in zip(stores, range(3), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stores[0].totals(None).queued == 10
    assert stores[0].totals("x").videos <= 2
    refused = [one for one in results if isinstance(one, Exception)]
    assert refused
    assert {type(one) for one in refused} == {QueueFullError}


def test_change_numbers_follow_the_order_of_commits(open_one):
    first, second = open_one(), open_one()
    with first._database.transaction() as connection:
        connection.execute("UPDATE clock SET change = change + 1")
        # The number above is lower and not committed: no later one may be seen before it.
        with pytest.raises(StoreBusyError):
            create(second)
        assert second.changes("alice", since=0) == []


@pytest.mark.parametrize("version", range(postgres_schema.SCHEMA_VERSION))
def test_tables_of_every_older_version_are_migrated(open_one, monkeypatch, version):
    with monkeypatch.context() as older:
        older.setattr(postgres_schema, "MIGRATIONS", postgres_schema.MIGRATIONS[:version])
        older.setattr(postgres_schema, "SCHEMA_VERSION", version)
        with contextlib.suppress(StoreBusyError, UserError):
            open_one()
    store = open_one()
    job = create(store)
    assert open_one().get(job.id, owner=None) == job
    assert store.shared_secret("x", b"a" * 32) == open_one().shared_secret("x", b"b" * 32) == b"a" * 32


def test_tables_of_a_newer_version_are_refused_in_one_line(open_one):
    store = open_one()
    with store._database.transaction() as connection:
        connection.execute("UPDATE kinema_schema SET version = 99")
    with pytest.raises(UserError, match=r"version 99 .* newer Kinema") as caught:
        open_one()
    assert "\n" not in str(caught.value)


def test_a_database_out_of_reach_is_one_line_without_its_password():
    with pytest.raises(UserError, match="can't use the PostgreSQL database") as caught:
        PostgresJobStore("postgresql://kinema:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_jobs_of_many_servers_are_listed_shown_cancelled_and_retried(tmp_path, capsys, monkeypatch):
    url = shared_server().url("command")
    data, storage = tmp_path / "data", tmp_path / "files"
    options = ["--data", str(data), "--storage", str(storage)]
    with contextlib.closing(PostgresJobStore(url)) as store:
        files = open_file_store(data, str(storage))
        requested = job_create(prompt="a blue cube")
        files.open_incoming(requested.id)
        files.keep_incoming(requested)
        job = create(store, requested)
        main(["jobs", "list", "--search", "BLUE", "--database", url, *options])
        assert job.id in capsys.readouterr().out
        monkeypatch.setenv("KINEMA_DATABASE", url)
        main(["jobs", "show", job.id, *options])
        assert "job.json" in capsys.readouterr().out
        main(["jobs", "cancel", job.id, *options])
        assert store.get(job.id, owner=None).error_code == "cancelled"
        main(["jobs", "retry", job.id, *options])
        assert store.get(job.id, owner=None).status == "queued"
        main(["jobs", "verify", *options])
        assert "0 videos are intact" in capsys.readouterr().out
        with pytest.raises(SystemExit):
            main(["jobs", "backup", str(tmp_path / "copy"), *options])
        assert "pg_dump" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            main(["jobs", "restore", str(tmp_path / "copy"), *options])
        assert "pg_restore" in capsys.readouterr().err


def test_demand_counts_the_jobs_of_a_model_and_its_busy_workers(open_one):
    store = open_one()
    worker = store.register_worker()
    for _ in range(3):
        create(store)
    assert store.demand("testcard").waiting == 3
    claimed = store.claim(worker, "testcard", expired=(), max_attempts=3)
    demand = store.demand("testcard")
    assert (demand.waiting, demand.busy_workers) == (2, {worker})
    store.mark_worker_dead(worker)
    assert store.demand("testcard").waiting == 3
    assert claimed is not None
