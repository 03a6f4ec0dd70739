"""Numbers measured on this machine: kept between runs, measured again where the file is damaged."""

import subprocess
import sys

import pytest
import torch

from kinema.pipeline import machine_cache, throughput
from kinema.pipeline.machine_cache import cached_numbers, machine_key, read_numbers, write_numbers
from kinema.pipeline.pipeline import load
from kinema.pipeline.request import VideoRequest

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "kinema"


def test_a_number_is_measured_once(cache_dir):
    calls = []

    def measure():
        calls.append(1)
        return {"speed": 2.5}

    key = machine_key(CPU, kind="speed", width=4)
    assert cached_numbers(key, measure) == cached_numbers(key, measure) == {"speed": 2.5}
    assert len(calls) == 1
    assert key != machine_key(CPU, kind="speed", width=5)
    assert [path.name for path in cache_dir.iterdir()] == ["machine.json"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"k": {"speed": "fast"}}', '{"k": NaN}', "[" * 10**5])
def test_damaged_files_are_replaced(cache_dir, text):
    cache_dir.mkdir()
    (cache_dir / "machine.json").write_text(text)
    assert read_numbers("k") is None
    assert cached_numbers("k", lambda: {"speed": 1.0}) == {"speed": 1.0}
    assert read_numbers("k") == {"speed": 1.0}


def test_an_unwritable_folder_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cached_numbers("k", lambda: {"speed": 1.0}) == {"speed": 1.0}


def test_the_file_stays_small(monkeypatch):
    monkeypatch.setattr(machine_cache, "_MAX_ENTRIES", 3)
    for number in range(4):
        write_numbers(f"k{number}", {"speed": float(number)})
    assert read_numbers("k0") is None
    assert read_numbers("k3") == {"speed": 3.0}


def test_estimates_follow_the_time_of_finished_videos(monkeypatch):
    """The estimate of a machine that is slower than its micro-benchmark is corrected by the first video."""
    pipe = load("world", device="cpu")
    resolved = pipe.resolve(VideoRequest(prompt="a red ball rolls to the left", num_inference_steps=6))
    before = next(cost for cost in pipe.estimate(resolved).costs if cost.name == "sample").seconds
    clock = iter(float(tick) for tick in range(10_000))
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(clock) * before)
    pipe.generate("a red ball rolls to the left", num_inference_steps=6)
    after = next(cost for cost in pipe.estimate(resolved).costs if cost.name == "sample").seconds
    # Each of the 6 steps took as long as was estimated for all of them.
    assert after == pytest.approx(6 * before, rel=0.01)


def test_a_video_measures_no_throughput(monkeypatch, tmp_path):
    """The micro-benchmark took a second at the end of the first video on a machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def measure(*_, **__):
        raise AssertionError("measured")

    monkeypatch.setattr(throughput, "measure_throughput", measure)
    load("world", device="cpu").generate("a red ball rolls to the left", num_inference_steps=4)
    assert "seconds" in (tmp_path / "kinema" / "machine.json").read_text()


def test_a_second_estimate_imports_no_compiler():
    """Counting the operations of an autoencoder imports torch._dynamo, so the count is kept."""
    program = (
        "import sys\n"
        "from kinema.pipeline.pipeline import load\n"
        "from kinema.pipeline.request import VideoRequest\n"
        "pipe = load('world', device='cpu')\n"
        "pipe.estimate(pipe.resolve(VideoRequest(prompt='a red ball')))\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert runs[1].stdout.strip() == "False"
