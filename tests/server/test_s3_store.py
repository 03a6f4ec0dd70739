"""Files in S3: what one machine stores, another one finds; what is damaged or out of reach is noticed."""

from __future__ import annotations

import dataclasses
import importlib.util
import urllib.request

import pytest

from kinema.errors import UserError
from kinema.server import s3_store
from kinema.server.file_store import PREVIEW_FILE, SERVED_FILES, VIDEO_FILE, DamagedFileError
from kinema.server.job import Job, new_job
from kinema.server.job_store import StoreBusyError
from kinema.server.s3_store import S3FileStore
from tests.fixtures.job_stores import job_create
from tests.fixtures.object_store import BUCKET, running_object_store

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("boto3", "moto", "flask_cors")),
    reason="needs boto3 and moto's server",
)


@pytest.fixture(scope="module")
def service():
    with running_object_store() as store:
        yield store


@pytest.fixture
def open_machine(service, tmp_path, monkeypatch):
    """Opens the file store as a machine of its own."""
    for name, value in service.env.items():
        monkeypatch.setenv(name, value)
    machines = []

    def open_one() -> S3FileStore:
        folder = tmp_path / f"machine-{len(machines)}"
        (folder / "videos").mkdir(parents=True)
        machines.append(S3FileStore(folder, f"s3://{BUCKET}/{tmp_path.name}"))
        return machines[-1]

    yield open_one
    for machine in machines:
        machine.close()


def submit(files: S3FileStore) -> Job:
    """A job with an image."""
    create = job_create()
    (files.open_incoming(create.id) / "image.png").write_bytes(b"image")
    files.keep_incoming(create)
    return dataclasses.replace(new_job(create, created_at=1), attempt="aa")


def finish(files: S3FileStore, job: Job, content: str = "made") -> Job:
    folder = files.open_attempt(job.id, job.attempt)
    for name in SERVED_FILES:
        (folder / name).write_text(f"{name} {content} by {job.attempt}")
    done = dataclasses.replace(job, status="completed", files=files.publish(job.id, job.attempt))
    files.write_result(done)
    return done


def test_a_job_goes_from_one_machine_to_another(open_machine):
    api, worker, other = open_machine(), open_machine(), open_machine()
    job = submit(api)
    assert worker.list_ids() == {job.id}
    create, _ = worker.read_record(job.id)
    assert create.id == job.id
    assert worker.has_record(job.id)
    worker.fetch(job)
    assert (worker.job_dir(job.id) / "image.png").read_bytes() == b"image"
    checkpoint = worker.open_attempt(job.id, "aa") / "checkpoint-000001.npz"
    checkpoint.write_bytes(b"state")
    preview = checkpoint.with_name(PREVIEW_FILE)
    for content in (b"first", b"second"):
        preview.write_bytes(content)
        worker.share(job.id, preview)
        assert api.path(job, PREVIEW_FILE).read_bytes() == content
    worker.share(job.id, checkpoint)
    resumed = dataclasses.replace(job, attempt="bb", checkpoint="attempt-aa/checkpoint-000001.npz")
    other.fetch(resumed)
    assert (other.job_dir(job.id) / resumed.checkpoint).read_bytes() == b"state"
    done = finish(other, resumed)
    assert api.read_result(job.id).attempt == "bb"
    other.remove_work(done)
    assert not other.job_dir(job.id).exists()
    assert api.verified_path(done, VIDEO_FILE).read_text() == "video.mp4 made by bb"
    assert sorted(name.split("/")[-1] for name in api._names_of(job.id)) == sorted(
        ["job.json", "result.json", *SERVED_FILES]
    )
    assert api.delete(job.id, reason="expired")
    assert worker.list_ids() == set()


def test_a_late_attempt_changes_no_other_ones_files(open_machine):
    slow, quick = open_machine(), open_machine()
    job = submit(slow)
    done = finish(quick, dataclasses.replace(job, attempt="bb"))
    finish_late = slow.open_attempt(job.id, "aa")
    for name in SERVED_FILES:
        (finish_late / name).write_text("late")
    slow.publish(job.id, "aa")
    assert slow.read_result(job.id).attempt == "bb"
    assert slow.verified_path(done, VIDEO_FILE).read_text() == "video.mp4 made by bb"
    slow.remove_attempt(job.id, "aa")
    assert not any(name.startswith("attempt-aa/") for name in quick._names_of(job.id))


def test_damage_is_noticed_and_a_damaged_copy_is_replaced(open_machine):
    worker, api = open_machine(), open_machine()
    done = finish(worker, submit(worker))
    path = api.verified_path(done, VIDEO_FILE)
    path.write_text("damaged")
    assert api.verified_path(done, VIDEO_FILE).read_text() == "video.mp4 made by aa"
    path.write_text("damaged")
    api.share(done.id, path)
    with pytest.raises(DamagedFileError):
        api.verified_path(done, VIDEO_FILE)
    with pytest.raises(FileNotFoundError):
        api.verified_path(dataclasses.replace(done, attempt="cc"), VIDEO_FILE)


def test_a_signed_link_needs_no_credentials_and_names_an_object_that_exists(open_machine):
    files = open_machine()
    done = finish(files, submit(files))
    link = files.link(done, VIDEO_FILE)
    with urllib.request.urlopen(link) as response:
        assert response.read() == b"video.mp4 made by aa"
        assert response.headers["content-disposition"] == f'inline; filename="{done.id}.mp4"'
    with pytest.raises(FileNotFoundError):
        files.link(dataclasses.replace(done, attempt="cc"), VIDEO_FILE)


def test_a_service_out_of_reach_is_an_error_that_may_be_tried_again(open_machine, service, monkeypatch):
    monkeypatch.setattr(s3_store, "READ_TIMEOUT_S", 0.5)
    files = open_machine()
    job = submit(files)
    service.freeze()
    try:
        with pytest.raises(StoreBusyError, match="object store"):
            submit(files)
        with pytest.raises(StoreBusyError, match="object store"):
            files.list_ids()
    finally:
        service.thaw()
    assert job.id in files.list_ids()


def test_a_bucket_that_does_not_exist_is_refused_in_one_line(open_machine, tmp_path):
    open_machine()
    with pytest.raises(UserError, match="can't use the bucket 'none'") as caught:
        S3FileStore(tmp_path, "s3://none")
    assert "\n" not in str(caught.value)
