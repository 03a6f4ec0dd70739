"""Evaluation and curation on a Ray cluster: the files of a local run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kinema.cli import main
from kinema.errors import UserError
from kinema.evaluation.evaluate import evaluate_model
from kinema.evaluation.video_sources import VideoFormat
from kinema.process_pool import THREAD_ENV_VARS, run_jobs
from kinema.ray_tasks import RayTasks
from tests.evaluation.disc_generator import DiscGenerator
from tests.fixtures.shots import FPS, shot

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::ResourceWarning"
    ),
]


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray")
    # Tasks import functions of the tests.
    root = str(Path(__file__).parents[1])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = root
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield RayTasks(address="auto")
    ray.shutdown()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("report.html", "build.log")
    }


def thread_variables(_job: int) -> set[str | None]:
    return {os.environ.get(name) for name in THREAD_ENV_VARS}


def refuse(job: int) -> int:
    if job == 3:
        raise UserError("3 is not possible; give another number")
    return job


def test_results_are_in_order_with_one_thread_each_and_errors_arrive(cluster):
    assert list(run_jobs(abs, iter(range(-30, 0)), cluster)) == list(range(30, 0, -1))
    assert list(run_jobs(thread_variables, [0], cluster)) == [{"1"}]
    results = run_jobs(refuse, range(10), cluster)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match="3 is not possible"):
        next(results)


def test_an_evaluation_has_the_files_of_a_local_one(cluster, tmp_path):
    video_format = VideoFormat(height=64, width=64, num_frames=9, fps=8.0)
    for name, workers in (("local", 1), ("ray", cluster)):
        generator = DiscGenerator(per_process=True)
        list(
            evaluate_model(
                "discs", generator, "smoke", video_format, tmp_path / name, baselines=None, workers=workers
            )
        )
    local = files(tmp_path / "local")
    assert len(local) > 80
    assert files(tmp_path / "ray") == local


def test_a_curated_set_has_the_files_of_a_local_one(cluster, tmp_path, capsys):
    from kinema.media.write import write_video

    for index in range(3):
        (tmp_path / "source").mkdir(exist_ok=True)
        write_video(tmp_path / "source" / f"{index}.mp4", shot(60 + index, 72), FPS)
    for name, options in (("local", ("--workers", "1")), ("ray", ("--ray", "auto"))):
        main(["data", "build", str(tmp_path / "source"), "--out", str(tmp_path / name), *options])
    local = files(tmp_path / "local")
    assert "clips.parquet" in local
    assert files(tmp_path / "ray") == local
