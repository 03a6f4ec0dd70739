from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.evaluation.evaluate import evaluate_model, evaluate_videos
from kinema.evaluation.frechet import frechet_distance
from kinema.evaluation.prompt_parser import parse_prompt
from kinema.evaluation.record import EvaluationRecord, load_records
from kinema.evaluation.score_video import MEASURES
from kinema.evaluation.scorecard import (
    aggregate_records,
    compare_records,
    mean_interval,
    poisson_rate,
    wilson_interval,
)
from kinema.evaluation.video_sources import VideoFormat
from kinema.media import write_video
from tests.evaluation.disc_videos import Disc, constant_path, disc_video, linear_path


def test_intervals():
    value = wilson_interval(8, 10)
    assert (value.value, round(value.low, 4), round(value.high, 4)) == (0.8, 0.4902, 0.9433)
    assert wilson_interval(0, 50).low == 0
    assert mean_interval([1.0, 3.0]).value == 2
    assert poisson_rate(0, 2.0).value == 0
    assert 1.5 < poisson_rate(0, 2.0).high < 2.0


def test_frechet_of_gaussians_is_the_closed_form():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(4000, 3)) * [1.0, 2.0, 0.5]
    two = one * [2.0, 1.0, 1.0] + [3.0, 0.0, -1.0]
    covariance = np.cov(one, rowvar=False)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    stds = np.sqrt(np.diag(covariance))
    expected = 10 + ((stds * [2.0, 1.0, 1.0] - stds) ** 2).sum()
    assert frechet_distance(one, two) == pytest.approx(expected, rel=0.02)


def test_frechet_between_turned_gaussians_is_the_closed_form():
    """Of two matrices of 2 x 2, tr((AB)^½) = (tr AB + 2 (det AB)^½)^½."""
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(500, 2))
    # Whitened, so that the sample covariances are exactly those of the roots.
    noise = (noise - noise.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(noise, rowvar=False))).T
    roots = np.array([[2.0, 0.0], [0.7, 0.5]]), np.array([[0.4, 0.3], [-0.3, 1.1]])
    a, b = (root @ root.T for root in roots)
    one, two = noise @ roots[0].T, noise @ roots[1].T + [1.0, -2.0]
    cross = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    expected = 5 + np.trace(a) + np.trace(b) - 2 * cross
    assert frechet_distance(one, two) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(two, one) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_fewer_videos_than_features():
    """The covariances are singular; moving a set moves it by the square of the way, and nothing else."""
    rng = np.random.default_rng(2)
    one = rng.normal(size=(12, 64))
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-4)
    assert frechet_distance(one, one + 1) == pytest.approx(64, abs=1e-4)


def _make_record(
    index: int,
    *,
    correct: bool | None,
    prompt: str = "a red ball rolls to the left",
    metrics: dict[str, float | None] | None = None,
) -> EvaluationRecord:
    verdicts = dict.fromkeys(MEASURES) | {"direction": correct}
    faults = dict.fromkeys(("births", "deaths", "colour_changes", "size_changes", "frozen"), 0)
    return EvaluationRecord(
        index=index, kind="roll", prompt=prompt, has_objects=True, verdicts=verdicts, faults=faults,
        metrics=metrics or {"object_minutes": 0.1}, video_features=(), tracker_features=(),
    )  # fmt: skip


def test_survival_applies_only_to_videos_that_are_long_enough():
    durations = [(4.0, 4.0), (12.0, 10.0), (12.0, 5.0), (59.75, 59.75), (60.0, 25.0), (60.0, None)]
    records = [
        _make_record(
            k,
            correct=True,
            metrics={"object_minutes": 0.1, "seconds": seconds, "survival_seconds": survival},
        )
        for k, (seconds, survival) in enumerate(durations)
    ]
    measures = aggregate_records("x", records).measures
    found = {name: (value.value, value.n) for name, value in measures.items() if name.endswith(" s")}
    assert found == {
        "identity, 10 s": (0.75, 4), "identity, 20 s": (1.0, 2), "identity, 30 s": (0.5, 2),
        "identity, 40 s": (0.5, 2), "identity, 50 s": (0.5, 2), "identity, 60 s": (0.5, 2),
    }  # fmt: skip


def test_the_paired_bootstrap_agrees_with_the_closed_form():
    """The mean of n paired gains has a standard error of their deviation over √n."""
    rng = np.random.default_rng(3)
    a, b = rng.random(400) < 0.6, rng.random(400) < 0.7
    (difference,) = compare_records(
        [_make_record(k, correct=bool(x)) for k, x in enumerate(a)],
        [_make_record(k, correct=bool(x)) for k, x in enumerate(b)],
    )
    assert difference.measure == "direction"
    gain = b.astype(float) - a
    error = 1.959964 * gain.std() / 20
    assert difference.b - difference.a == pytest.approx(gain.mean())
    assert difference.low == pytest.approx(gain.mean() - error, abs=0.006)
    assert difference.high == pytest.approx(gain.mean() + error, abs=0.006)
    assert difference.is_significant is bool(gain.mean() > error)


def test_the_bootstrap_is_paired():
    """Two models that fail on the same prompts have a difference of zero without any uncertainty."""
    flags = [k % 2 == 0 for k in range(40)]
    same = [_make_record(k, correct=flag) for k, flag in enumerate(flags)]
    other = [_make_record(k, correct=not flag) for k, flag in enumerate(flags)]
    assert (compare_records(same, same)[0].low, compare_records(same, same)[0].high) == (0, 0)
    assert compare_records(same, other)[0].high > 0.2
    not_applicable = [_make_record(k, correct=None) for k in range(40)]
    assert compare_records(same, not_applicable) == ()
    with pytest.raises(UserError, match="no prompt in common"):
        compare_records(same, [_make_record(99, correct=True)])


PROMPTS = [
    "a red ball rolls to the left",
    "a red ball rolls to the right",
    "a blue ball stands to the left of a pink ball",
]


def _write_videos(folder):
    """Write three videos for `PROMPTS`, of which the second rolls in the wrong direction, and the prompts."""
    folder.mkdir()
    y = constant_path(34.0)
    rolling = disc_video(Disc(colour="red", x=linear_path(50, 14), y=y, radius=6.0))
    pair = disc_video(
        *(Disc(colour=c, x=constant_path(x), y=y, radius=6.0) for c, x in (("blue", 18.0), ("pink", 46.0)))
    )
    for number, frames in enumerate((rolling, rolling, pair), 1):
        write_video(folder / f"{number}.mp4", frames, fps=8)
    prompts = folder.parent / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS) + "\n")
    return prompts


def _evaluate(folder, prompts, out, workers=1):
    return list(evaluate_videos(folder, prompts, out, baselines=None, workers=workers))


def test_scorecard_is_the_same_when_resumed_with_another_number_of_workers(tmp_path):
    videos = tmp_path / "videos"
    prompts = _write_videos(videos)
    complete, resumed = tmp_path / "complete", tmp_path / "resumed"
    _evaluate(videos, prompts, complete)
    # Interrupted after the first video: its record exists, the others and the scorecard do not.
    progress = evaluate_videos(videos, prompts, resumed, baselines=None, workers=1)
    next(progress)
    progress.close()
    assert not (resumed / "scorecard.json").exists()
    assert _evaluate(videos, prompts, resumed, workers=2) == ["videos: 1 videos", "videos: 2 videos"]
    for name in ("scorecard.json", "scorecard.md", "scorecard.html"):
        assert (complete / name).read_bytes() == (resumed / name).read_bytes()
    measures = json.loads((complete / "scorecard.json").read_text())["rows"][0]["measures"]
    assert measures["direction"]["value"] == 0.5
    assert measures["left/right"]["value"] == 1
    assert "<svg" in (complete / "scorecard.html").read_text()


def test_rows_do_not_depend_on_the_order_of_records(tmp_path):
    videos, out = tmp_path / "videos", tmp_path / "out"
    _evaluate(videos, _write_videos(videos), out)
    records = load_records(out)
    assert aggregate_records("x", records) == aggregate_records("x", records[::-1])
    shutil.copytree(out, tmp_path / "copy")
    differences = compare_records(records, load_records(tmp_path / "copy"))
    assert all(d.low == d.high == 0 and not d.is_significant for d in differences)


class RollingDiscGenerator:
    """Draws one red disc that rolls to the left, whatever the prompt."""

    per_process = False

    def __init__(self, name: str = "discs", batch_size: int = 1):
        self.name, self.batch_size = name, batch_size
        self.requested_prompts = []

    def load_generator(self):
        return self

    def fingerprint(self):
        return self.name

    def generate(self, requests, video_format):
        num_frames = video_format.num_frames
        disc = Disc(colour="red", x=linear_path(50, 14, num_frames), y=constant_path(34.0, num_frames))
        for request in requests:
            self.requested_prompts.append(request.prompt)
            yield disc_video(disc, num_frames=num_frames, size=video_format.width)


VIDEO_FORMAT = VideoFormat(height=64, width=64, num_frames=5, fps=8.0)


def _evaluate_model(generator_factory, out):
    return list(
        evaluate_model("discs", generator_factory, "smoke", VIDEO_FORMAT, out, baselines=None, workers=1)
    )


def test_every_prompt_and_its_swapped_variant_is_generated_once(tmp_path):
    generator, out = RollingDiscGenerator(), tmp_path / "out"
    assert "50 of 50 videos" in _evaluate_model(generator, out)[-1]
    assert len(generator.requested_prompts) == 50
    for prompt in generator.requested_prompts:
        parse_prompt(prompt)
    scorecard = json.loads((out / "scorecard.json").read_text())
    assert scorecard["rows"][0]["measures"]["left/right, both ways"]["n"] == 10
    (out / "records" / "00011-1.json").unlink()
    assert "1 of 1 videos" in _evaluate_model(generator, out)[-1]
    assert len(generator.requested_prompts) == 51
    assert json.loads((out / "scorecard.json").read_text()) == scorecard


def test_batches_are_the_same_videos_whatever_was_scored_before(tmp_path):
    generator, out = RollingDiscGenerator(batch_size=8), tmp_path / "out"
    assert "50 of 50 videos" in _evaluate_model(generator, out)[-1]
    prompts, scorecard = list(generator.requested_prompts), (out / "scorecard.json").read_bytes()
    names = sorted(path.name for path in (out / "records").iterdir())
    (out / "records" / names[21]).unlink()
    times = {path.name: path.stat().st_mtime_ns for path in (out / "records").iterdir()}
    assert "1 of 1 videos" in _evaluate_model(generator, out)[-1]
    # The whole batch is generated again, and only the missing video is scored.
    assert generator.requested_prompts[50:] == prompts[16:24]
    assert all((out / "records" / name).stat().st_mtime_ns == time for name, time in times.items())
    assert (out / "scorecard.json").read_bytes() == scorecard
    with pytest.raises(UserError, match="another request"):
        _evaluate_model(RollingDiscGenerator(batch_size=4), out)


def test_videos_of_two_models_never_share_a_directory(tmp_path):
    _evaluate_model(RollingDiscGenerator(), tmp_path / "out")
    with pytest.raises(UserError, match="another request"):
        _evaluate_model(RollingDiscGenerator("other discs"), tmp_path / "out")


def test_mistakes_end_in_one_line(tmp_path):
    prompts, empty = tmp_path / "prompts.txt", tmp_path / "empty"
    prompts.write_text("a red ball rolls to the left\n")
    empty.mkdir()
    with pytest.raises(UserError, match="0 videos"):
        _evaluate(empty, prompts, tmp_path / "out")
    with pytest.raises(UserError, match="not a folder"):
        _evaluate(tmp_path / "none", prompts, tmp_path / "out")
