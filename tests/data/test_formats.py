"""One test for each dataset format."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kinema.data.formats.detect import detect_format, read_sources
from kinema.data.item_reader import local_path, read_frames
from kinema.data.media_item import ClipOptions
from kinema.data.video_shards import write_shard
from kinema.errors import UserError
from kinema.media import write_video
from tests.fixtures.shots import shot

DEFAULT = ClipOptions()


@pytest.fixture
def folder(tmp_path):
    """Two videos and an image without captions; the content does not matter."""
    base = tmp_path / "clips"
    base.mkdir()
    (base / "cat.mp4").write_bytes(b"video")
    (base / "dog.mp4").write_bytes(b"video")
    (base / "still.png").write_bytes(b"image")
    return base


def read(*paths, format_name=None):
    return read_sources(list(paths), DEFAULT, format_name=format_name)


def captions(items):
    return {Path(item.member or item.path).name: item.captions for item in items}


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_folder_with_sidecars(folder):
    write(folder / "cat.txt", "\ufeffa grey cat stands up\n")
    write(folder / "default.txt", "something")
    write(folder / "bird.txt", "a caption alone")
    (folder / "walk").mkdir()
    for index in range(3):
        Image.fromarray(np.full((8, 8, 3), index, np.uint8)).save(folder / "walk" / f"{index:03d}.png")
    write(folder / "walk.txt", "frames of one video")
    (folder / "inner").mkdir()
    (folder / "inner" / "deep.mov").write_bytes(b"video")
    (folder / "_controls").mkdir()
    (folder / "_controls" / "cat.mp4").write_bytes(b"video")
    (folder / ".hidden.mp4").write_bytes(b"video")
    assert detect_format(folder) == "sidecars"
    items = read(folder)
    assert captions(items) == {
        "cat.mp4": ("a grey cat stands up",),
        "dog.mp4": ("something",),
        "still.png": ("something",),
        "walk": ("frames of one video",),
        "deep.mov": (),
        "bird.txt": ("a caption alone",),
    }
    kinds = {Path(item.path).name: item.kind for item in items}
    assert kinds["walk"] == "frames"
    assert kinds["still.png"] == "image"
    assert kinds["bird.txt"] == "caption_only"
    walk = next(item for item in items if item.kind == "frames")
    with local_path(walk) as path:
        assert [frame.image[0, 0, 0] for frame in read_frames(walk, path)] == [0, 1, 2]


def test_musubi_toml(folder, tmp_path):
    write(folder / "cat.txt", "a cat\non a mat")
    write(tmp_path / "list.jsonl", json.dumps({"video_path": str(folder / "dog.mp4"), "caption": "a dog"}))
    config = write(
        tmp_path / "musubi.toml",
        f"""
        [general]
        resolution = [960, 544]
        caption_extension = ".txt"
        batch_size = 1
        [[datasets]]
        video_directory = "{folder}"
        target_frames = [1, 25, 45]
        frame_extraction = "uniform"
        frame_sample = 4
        source_fps = 30.0
        num_repeats = 2
        [[datasets]]
        video_jsonl_file = "{tmp_path / "list.jsonl"}"
        frame_extraction = "full"
        max_frames = 65
        """,
    )
    assert detect_format(config) == "musubi"
    items = read(config)
    cat, listed = items[0], items[-1]
    assert cat.captions == ("a cat\non a mat",)
    assert cat.repeats == 2
    assert cat.clips is not None
    assert (cat.clips.frames, cat.clips.mode, cat.clips.samples) == ((1, 25, 45), "uniform", 4)
    assert (cat.clips.resampling, cat.clips.source_fps, cat.clips.fps) == ("musubi", 30.0, 16.0)
    assert cat.clips.resolutions == ((960, 544),)
    assert listed.captions == ("a dog",)
    assert listed.clips is not None
    assert (listed.clips.mode, listed.clips.max_frames, listed.clips.fps) == ("full", 65, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[datasets]]\ntarget_frame = [1]", "did you mean 'target_frames'"),
        ("[[datasets]]\nresolution = [64, 64]", "has no videos"),
        ('[[datasets]]\nvideo_directory = "."', "caption_extension is missing"),
        ('[[datasets]]\nvideo_directory = "nowhere"\ncaption_extension = ".txt"', "does not exist"),
        ('[[datasets]]\nvideo_directory = "."\nframe_extraction = "hed"', "did you mean 'head'"),
        ('[[datasets]]\nvideo_directory = "."\ntarget_frames = "x"', "wrong type"),
        ("[general", "is not TOML"),
        ("[general]", "has no"),
    ],
)
def test_mistakes_in_a_configuration_are_named(text, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        read(write(tmp_path / "bad.toml", text))
    assert "\n" not in str(error.value)


def test_diffusion_pipe_toml(folder, tmp_path):
    write(folder / "captions.json", json.dumps({"cat.mp4": ["a cat", "cat, grey"], "gone.mp4": ["a ghost"]}))
    config = write(
        tmp_path / "pipe.toml",
        f"""
        resolutions = [512, [640, 384]]
        enable_ar_bucket = true
        min_ar = 0.5
        max_ar = 2.0
        num_ar_buckets = 7
        frame_buckets = [33, 65]
        [[directory]]
        path = "{folder}"
        num_repeats = 5
        caption_prefix = "in the style of xyz, "
        """,
    )
    assert detect_format(config) == "diffusion-pipe"
    items = read(config)
    assert captions(items)["cat.mp4"] == ("in the style of xyz, a cat", "in the style of xyz, cat, grey")
    assert captions(items)["dog.mp4"] == ()
    assert {Path(item.path).name for item in items if item.kind == "missing"} == {"gone.mp4"}
    clips = items[0].clips
    assert clips is not None
    assert (clips.frames, clips.mode, clips.resampling) == ((1, 33, 65), "single_beginning", "diffusion-pipe")
    assert clips.resolutions == ((512, 512), (640, 384))
    assert [round(ratio, 3) for ratio in clips.ratios] == [0.5, 0.63, 0.794, 1, 1.26, 1.587, 2]


def test_captions_json_alone(folder):
    write(folder / "captions.json", json.dumps({"cat.mp4": ["a cat"]}))
    assert detect_format(folder) == "captions-json"
    assert captions(read(folder)) == {"cat.mp4": ("a cat",), "dog.mp4": (), "still.png": ()}


def test_ai_toolkit_yaml_and_json(folder, tmp_path):
    write(folder / "cat.txt", "[trigger] stands up")
    write(folder / "dog.txt", "a dog")
    config = write(
        tmp_path / "job.yaml",
        f"""
job: extension
config:
  process:
    - type: sd_trainer
      datasets:
        - folder_path: {folder}
          caption_ext: txt
          num_frames: 81
          resolution: [256, 512]
          trigger_word: xyz
        - folder_path: {folder}
          shrink_video_to_frames: false
          num_frames: 41
          fps: 24
""",
    )
    assert detect_format(config) == "ai-toolkit"
    items = read(config)
    found = captions(items[:3])
    assert found["cat.mp4"] == ("xyz stands up",)
    assert found["dog.mp4"] == ("xyz a dog",)
    first, last = items[0].clips, items[-1].clips
    assert first is not None
    assert last is not None
    assert (first.mode, first.frames, first.resolutions) == ("shrink", (81,), ((256, 256), (512, 512)))
    assert (last.mode, last.resampling, last.fps) == ("head", "ai-toolkit", 24.0)
    paths = write(tmp_path / "paths.json", json.dumps({str(folder / "cat.mp4"): {"caption": "a cat"}}))
    assert detect_format(paths) == "ai-toolkit"
    assert captions(read(paths)) == {"cat.mp4": ("a cat",)}


def test_simpletuner_json(folder, tmp_path):
    write(folder / "cat.txt", "a cat\na grey cat")
    table = pa.table({"id": ["dog.mp4"], "caption": ["a dog"]})
    pq.write_table(table, tmp_path / "captions.parquet")
    entries = [
        {
            "id": "clips", "type": "local", "dataset_type": "video", "instance_data_dir": str(folder),
            "caption_strategy": "textfile", "resolution": 480, "resolution_type": "pixel_area", "repeats": 1,
            "video": {"num_frames": 81},
        },
        {
            "id": "table", "dataset_type": "video", "instance_data_dir": str(folder),
            "caption_strategy": "parquet",
            "parquet": {
                "path": str(tmp_path / "captions.parquet"), "filename_column": "id",
                "caption_column": "caption",
            },
        },
        {"id": "texts", "dataset_type": "text_embeds", "default": True},
    ]  # fmt: skip
    config = write(tmp_path / "multidatabackend.json", json.dumps(entries))
    assert detect_format(config) == "simpletuner"
    items = read(config)
    assert captions(items[:3])["cat.mp4"] == ("a cat", "a grey cat")
    assert items[0].repeats == 2
    assert items[0].clips is not None
    assert (items[0].clips.frames, items[0].clips.resolutions) == ((81,), ((480, 480),))
    assert items[-1].captions == ("a dog",)


TABLES = {
    "metadata.csv": "video,prompt\ncat.mp4,a cat\ndog.mp4,a dog\n",
    "metadata.json": json.dumps(
        [{"video": "cat.mp4", "prompt": "a cat"}, {"video": "dog.mp4", "prompt": "a dog"}]
    ),
    "metadata.jsonl": '{"file_name": "cat.mp4", "text": "a cat"}\n{"file_name": "dog.mp4", "text": "a dog"}',
    "opensora.csv": "path,text,num_frames,fps,aes\ncat.mp4,a cat,90,30,5.6\ndog.mp4,a dog,90,30,5.1\n",
    "ltx.jsonl": '{"media_path": "cat.mp4", "caption": "a cat"}\n{"video": "dog.mp4", "caption": "a dog"}\n',
}


@pytest.mark.parametrize("name", TABLES)
def test_tables(name, folder):
    """DiffSynth, finetrainers, Hugging Face VideoFolder, Open-Sora, LTX-2."""
    source = write(folder / name, TABLES[name])
    path = folder if name.startswith("metadata") else source
    assert detect_format(path) == "table"
    assert captions(read(path)) == {"cat.mp4": ("a cat",), "dog.mp4": ("a dog",)}


def test_several_captions_of_a_table(folder):
    row = {"video": "cat.mp4", "caption": "a cat", "caption_short": "cat", "caption_long": "a cat, in detail"}
    table = write(folder / "all.jsonl", json.dumps(row))
    assert captions(read(table))["cat.mp4"] == ("a cat", "cat", "a cat, in detail")


def test_fastvideo_merge_txt(folder, tmp_path):
    annotation = [
        {"path": "cat.mp4", "cap": ["a cat", "more"], "fps": 24, "duration": 3.0},
        {"path": "dog.mp4", "cap": "a dog"},
    ]
    write(folder / "videos2caption.json", json.dumps(annotation))
    merge = write(tmp_path / "merge.txt", f"{folder},{folder / 'videos2caption.json'}\n")
    assert detect_format(merge) == "fastvideo"
    expected = {"cat.mp4": ("a cat", "more"), "dog.mp4": ("a dog",)}
    assert captions(read(merge)) == expected
    assert captions(read(folder)) == expected
    with pytest.raises(UserError, match="without videos"):
        read(write(tmp_path / "prompts.txt", "a cat\na dog\n"))


def test_line_files_of_finetrainers(folder):
    write(folder / "videos.txt", "cat.mp4\ndog.mp4\n")
    write(folder / "prompt.txt", "a cat\na dog\n")
    assert detect_format(folder) == "line-files"
    assert captions(read(folder)) == {"cat.mp4": ("a cat",), "dog.mp4": ("a dog",)}
    write(folder / "prompt.txt", "a cat\n")
    with pytest.raises(UserError, match="has 2 lines and"):
        read(folder)


def test_webdataset_tar(tmp_path):
    video = tmp_path / "video.mp4"
    write_video(video, shot(1, 5), 16)
    files = {
        "000001.mp4": video.read_bytes(), "000001.txt": b"a cat", "000002.mp4": video.read_bytes(),
        "000002.json": json.dumps({"caption": "a dog", "caption_short": "dog"}).encode(),
        "000003.txt": b"alone",
    }  # fmt: skip
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    assert detect_format(path) == "webdataset"
    items = read(path)
    assert captions(items) == {"000001.mp4": ("a cat",), "000002.mp4": ("a dog", "dog"), "000003": ("alone",)}
    with local_path(items[0]) as file:
        assert len(list(read_frames(items[0], file))) == 5
    assert not file.exists()
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(UserError, match="damaged tar"):
        read(path)


def test_cosmos(tmp_path):
    for name in ("videos", "metas"):
        (tmp_path / name).mkdir()
    (tmp_path / "videos" / "x.mp4").write_bytes(b"video")
    write(tmp_path / "metas" / "x.txt", "a caption")
    assert detect_format(tmp_path) == "cosmos"
    assert captions(read(tmp_path)) == {"x.mp4": ("a caption",)}


def test_simulated_sets(tmp_path):
    frames = shot(1, 5)
    write_shard(tmp_path, 0, [frames, frames[::-1]], [["plain", "other"], ["second"]])
    assert detect_format(tmp_path) == "simulated"
    items = read(tmp_path)
    assert [item.captions for item in items] == [("plain", "other"), ("second",)]
    with local_path(items[1]) as path:
        read_back = np.stack([frame.image for frame in read_frames(items[1], path)])
    assert np.array_equal(read_back, frames[::-1])


def test_the_format_can_be_named(folder):
    write(folder / "metadata.csv", "video,prompt\ncat.mp4,from the table\n")
    write(folder / "cat.txt", "from the file")
    assert captions(read(folder, format_name="sidecars"))["cat.mp4"] == ("from the file",)
    assert captions(read(folder))["cat.mp4"] == ("from the table",)
    with pytest.raises(UserError, match="did you mean 'sidecars'"):
        read(folder, format_name="sidecar")


def test_several_sources_are_joined(folder, tmp_path):
    write(folder / "cat.txt", "a cat")
    items = read(folder / "cat.mp4", folder)
    assert [Path(item.path).name for item in items] == ["cat.mp4", "dog.mp4", "still.png"]
