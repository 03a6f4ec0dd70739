"""Writing: atomic files, one-line errors, the same bytes for the same video."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from benchmarks.media import measure_memory
from PIL import Image

from kinema.errors import UserError
from kinema.media import open_writer, probe, read_video, write_video
from tests.fixtures.media_videos import noise_video, smooth_video

NAMES = ["a.mp4", "a.webm", "a.gif", "a.webp", "a.zip", "a"]


@pytest.mark.parametrize("name", NAMES)
def test_an_error_while_writing_leaves_no_file(name, tmp_path):
    def failing():
        yield from smooth_video(3, 32, 32)
        raise RuntimeError("the model stopped")

    with pytest.raises(RuntimeError, match="the model stopped"):
        write_video(tmp_path / name, failing(), 24)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [name for name in NAMES if name != "a"])
def test_an_error_keeps_the_existing_video(name, tmp_path):
    write_video(tmp_path / name, smooth_video(2, 16, 16), 24)
    before = (tmp_path / name).read_bytes()

    def interrupted() -> None:
        with open_writer(tmp_path / name, fps=24, size=(32, 32)) as writer:
            writer.write(smooth_video(2, 32, 32))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / name).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_video_without_frames_is_refused(name, tmp_path):
    with pytest.raises(UserError, match="no frames"):
        write_video(tmp_path / name, [], 24)
    with pytest.raises(UserError, match="no frames"), open_writer(tmp_path / name, fps=24, size=(8, 8)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_named(tmp_path):
    video = smooth_video(2, 16, 24)

    def refused(
        match: str, name: str = "a.mp4", images: np.ndarray = video, fps: float = 24.0, **options: str
    ):
        with pytest.raises(UserError, match=match) as caught:
            write_video(tmp_path / name, images, fps, **options)
        assert "\n" not in str(caught.value)

    refused(r"\.mp4, \.webm", name="a.mpeg")
    refused("is not a folder", name="nowhere/a.mp4")
    refused("is not a folder", name="nowhere/a")
    refused("no lossless", quality="lossless")
    refused("no lossless", name="a.gif", quality="lossless")
    refused("rate above 0", fps=0.0)
    refused("rate above 0", fps=float("nan"))
    refused("rate above 0", fps=float("inf"))
    refused("at most 50", name="a.gif", fps=60.0)
    refused("16 x 24 x 3", images=video.astype(np.float32))
    refused("not of 2 axes", images=video[..., 0])
    refused("at least 4 pixels", images=video[:, :3], kind="av1")
    with pytest.raises(UserError, match="16 x 24 x 3, not uint8 of 24 x 16 x 3"):
        write_video(tmp_path / "a.mp4", [video[0], video[0].transpose(1, 0, 2)], 24)
    with (
        pytest.raises(UserError, match="sides are 1 to 16383"),
        open_writer(tmp_path / "a.mp4", fps=24, size=(0, 8)),
    ):
        pass
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    refused("exists already", name="full")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_folder_of_images_may_replace_an_empty_one(tmp_path):
    (tmp_path / "a").mkdir()
    write_video(tmp_path / "a", noise_video(2, 8, 8), 12, comment="text")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["000000.png", "000001.png", "video.json"]
    index = json.loads((tmp_path / "a" / "video.json").read_text())
    assert index == {"frames": 2, "rate": "12", "comment": "text"}
    assert (tmp_path / "a").stat().st_mode & 0o700 == 0o700


FULL_DISK = """
import resource, sys
import numpy as np
from kinema.errors import UserError
from kinema.media import write_video
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
video = np.random.default_rng(0).integers(0, 256, (60, 96, 96, 3), np.uint8)
for path in sys.argv[1:]:
    try:
        write_video(path, video, 24, quality="good")
    except UserError as error:
        print(error)
"""


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    """A limit on file sizes gives the same error as a full disk."""
    paths = [str(tmp_path / name) for name in NAMES]
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *paths], capture_output=True, text=True, check=True
    )
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert len(lines) == len(NAMES)
    for path, line in zip(paths, lines, strict=True):
        assert line.startswith(f"can't write {path}: File too large")
    assert list(tmp_path.iterdir()) == []


def boxes(data: bytes) -> list[str]:
    """Names of the top-level boxes of an MP4 file, in order."""
    start, names = 0, []
    while start < len(data):
        length, name = struct.unpack(">I4s", data[start : start + 8])
        names.append(name.decode())
        start += length
    return names


@pytest.mark.parametrize("kind", [None, "av1"])
def test_mp4_starts_with_its_index(kind, tmp_path):
    write_video(tmp_path / "a.mp4", smooth_video(5, 32, 32), 24, kind=kind)
    names = boxes((tmp_path / "a.mp4").read_bytes())
    assert names.index("moov") < names.index("mdat")


@pytest.mark.parametrize(
    ("name", "kind", "codec"),
    [
        ("a.mp4", None, "h264"), ("a.mp4", "av1", "av1"), ("a.webm", None, "vp9"), ("a.gif", None, "gif"),
        ("a.webp", None, "webp"), ("a.zip", None, "png"), ("a", None, "png"), ("b.bin", "webm", "vp9"),
    ],
)  # fmt: skip
def test_the_suffix_chooses_the_codec(name, kind, codec, tmp_path):
    write_video(tmp_path / name, smooth_video(3, 32, 32), 24, kind=kind)
    assert probe(tmp_path / name).codec == codec


def test_pillow_reads_our_animations(tmp_path):
    video = noise_video(4, 10, 12) // 64 * 64
    for name in ("a.gif", "a.webp"):
        write_video(tmp_path / name, video, 10, quality="good" if name == "a.gif" else "lossless")
        with Image.open(tmp_path / name) as image:
            assert image.n_frames == 4
            assert image.info["loop"] == 0
            for number in range(4):
                image.seek(number)
                assert np.array_equal(np.asarray(image.convert("RGB")), video[number])
                assert image.info["duration"] == 100


def test_ffmpeg_reads_our_gif(tmp_path):
    video = noise_video(4, 10, 12) // 64 * 64
    write_video(tmp_path / "a.gif", video, 10)
    with av.open(str(tmp_path / "a.gif")) as container:
        back = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert np.array_equal(np.stack(back), video)


@pytest.mark.parametrize("name", [*NAMES[:-1], "av1.mp4"])
def test_the_same_video_gives_the_same_bytes(name, tmp_path):
    kind = "av1" if name == "av1.mp4" else None
    video = noise_video(6, 64, 64)
    written = []
    for _ in range(2):
        write_video(tmp_path / name, video, 24, kind=kind, comment="text")
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 64)])
def test_a_tiny_video_has_the_same_bytes_after_others_were_read(height, width, tmp_path):
    """Reading fills memory that an encoder might later read uninitialised."""
    frames = np.random.default_rng(0).integers(0, 255, (14, height, width, 3), dtype=np.uint8)
    contents = set()
    for number in range(20):
        write_video(tmp_path / f"{number}.mp4", frames, 8)
        contents.add((tmp_path / f"{number}.mp4").read_bytes())
        read_video(tmp_path / f"{number}.mp4")
    assert len(contents) == 1


def test_odd_sizes_are_padded_by_repeating_the_edge(tmp_path):
    video = smooth_video(2, 33, 47)
    write_video(tmp_path / "a.mp4", video, 24, quality="best")
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    assert frame.shape == (34, 48, 3)
    assert np.abs(frame[33, :47] - video[0, 32]).mean() < 6
    assert np.abs(frame[:33, 47] - video[0, :, 46]).mean() < 6


def test_a_long_comment_is_kept(tmp_path):
    request = json.dumps({"prompt": "a red ball 红球 rolls to the left\n" * 500, "seed": 7})
    for name in NAMES:
        write_video(tmp_path / name, smooth_video(2, 16, 16), 24, comment=request)
        assert probe(tmp_path / name).comment == request
        assert read_video(tmp_path / name).comment == request


def test_memory_does_not_grow_with_the_video():
    """The full size (60 s at 512x512) is measured by `make bench`."""
    for one in measure_memory(seconds=12, side=192, suffixes=(".mp4",)):
        assert one.growth_mib < 25, one
    # Keeping the frames would need 30 MB or more.
    assert 10 * 24 * 192 * 192 * 3 > 25 * 2**20


def test_paths_are_not_parsed_as_addresses(tmp_path):
    for name in ("a:b.mp4", "http:x.webm", "%03d.mp4", "ü video.mp4"):
        path = Path(tmp_path / name)
        write_video(path, smooth_video(2, 16, 16), 24)
        assert len(read_video(path).frames) == 2


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="only Linux has scheduling policies")
@pytest.mark.parametrize("kind", ["mp4", "av1", "webm"])
def test_an_encoder_does_not_change_the_scheduling_policy(tmp_path, kind):
    # SVT-AV1 sets root's threads to SCHED_FIFO, under which later processes can hang.
    before = os.sched_getscheduler(0)
    name = "a.webm" if kind == "webm" else "a.mp4"
    frames = np.zeros((3, 64, 64, 3), np.uint8)
    write_video(tmp_path / name, frames, 8, kind="av1" if kind == "av1" else None)
    assert os.sched_getscheduler(0) == before
