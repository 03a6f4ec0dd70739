"""Metadata of generated videos: JSON round trip, input files by digest, and paths."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.pipeline.metadata import FileDigest, GenerationMetadata, parse_metadata, path_sha256
from kinema.pipeline.reproduce import restore_pipeline
from kinema.pipeline.request import EditInput, ExtendInput, Keyframe, Lora, Shot, VideoRequest
from tests.fixtures.wan_videos import smooth_image


def metadata_of(request: VideoRequest, **fields) -> GenerationMetadata:
    files = tuple(FileDigest(path=path, sha256=path_sha256(Path(path))) for path in request.files())
    values = {"model": "world", "fingerprint": "f", "device": "cpu", "dtype": "float32", "int8": False}
    return GenerationMetadata(request=request, files=files, kinema="0", torch="0", **(values | fields))


def test_json_round_trip() -> None:
    image = smooth_image(1, side=8)
    request = VideoRequest(
        negative_prompt="",
        size=(64, 32),
        guidance_scale=(3.0, 4.0),
        keyframes=(Keyframe(seconds=1.5, image=image),),
        storyboard=(Shot(prompt="a"), Shot(prompt="b", seconds=2.0, transition="blend", image=image)),
        loop=True,
        upscale=2,
    )
    metadata = metadata_of(request, frames_sha256="0" * 64)
    again = parse_metadata(metadata.to_json(), what="a test")
    assert again.to_dict() == metadata.to_dict()
    assert again.request.storyboard[1].transition == "blend"
    assert again.request.guidance_scale == (3.0, 4.0)


def test_images_in_metadata_come_back_as_pixels() -> None:
    from kinema.pipeline.images import load_image

    image = smooth_image(2, side=8)
    again = VideoRequest.from_dict(json.loads(json.dumps(VideoRequest(image=image).to_dict())))
    assert np.array_equal(load_image(again.image), image)


def test_only_png_data_urls_are_decoded() -> None:
    """Metadata is not trusted: other formats have other decoders (EPS would start Ghostscript)."""
    from kinema.pipeline.images import load_image

    for data in ("", "JVBERi0=", "JSFQUy1BZG9iZS0zLjAgRVBTRi0zLjAK", "%%%"):
        with pytest.raises(UserError, match="not a valid PNG"):
            load_image(f"data:image/png;base64,{data}")


def test_input_files_are_found_and_checked(tmp_path: Path) -> None:
    source = tmp_path / "source.mp4"
    source.write_bytes(b"one")
    metadata = metadata_of(VideoRequest(source=ExtendInput(video=source)))
    assert metadata.request_with_files(tmp_path).source.video == source
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    source.rename(moved / "source.mp4")
    assert metadata.request_with_files(moved).source.video == moved / "source.mp4"
    (moved / "source.mp4").write_bytes(b"two")
    with pytest.raises(UserError, match="has changed since"):
        metadata.request_with_files(moved)
    with pytest.raises(UserError, match="is not in"):
        metadata.request_with_files(tmp_path)
    (moved / "source.mp4").write_bytes(b"one")
    found = metadata.request_with_files(tmp_path, inputs=[Path("gone"), moved / "source.mp4"])
    assert found.source.video == moved / "source.mp4"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        ".",
        "..",
        "",
        "../secret",
        "/etc",
        "/etc/hostname",
        "link",
        "folder",
        "pipe",
        "a\0b",
        "~",
        "x" * 5000,
    ],
)
def test_files_that_only_the_metadata_names_are_not_opened(tmp_path: Path, monkeypatch, path: str) -> None:
    """Whoever wrote a video's file must not make this program read other files, or all of the disk."""
    folder = tmp_path / "videos"
    (folder / "folder").mkdir(parents=True)
    (folder / "folder" / "a.png").write_bytes(b"x")
    (tmp_path / "secret").write_bytes(b"x")
    (folder / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")

    def refuse(opened: Path) -> str:
        raise AssertionError(f"{opened} was opened")

    monkeypatch.setattr("kinema.pipeline.metadata.path_sha256", refuse)
    monkeypatch.setattr("kinema.pipeline.loras.lora_sha256", refuse)
    for request in (
        VideoRequest(source=EditInput(video=path)),
        VideoRequest(prompt="a", image=path),
        VideoRequest(prompt="a", loras=(Lora(file=path),)),
    ):
        metadata = GenerationMetadata(
            model="world", fingerprint="f", request=request, files=(FileDigest(path=path, sha256="0"),),
            device="cpu", dtype="float32", int8=False, kinema="0", torch="0",
        )  # fmt: skip
        with pytest.raises(UserError, match=r"--input|--lora"):
            metadata.request_with_files(folder)


@pytest.mark.parametrize("model", ["owner/name", "/models/wan", "..", "world/", "World", ""])
def test_a_model_that_only_the_metadata_names_is_not_loaded(monkeypatch, model: str) -> None:
    def refuse(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("kinema.pipeline.reproduce.load", refuse)
    with pytest.raises(UserError, match="--model"):
        restore_pipeline(metadata_of(VideoRequest(prompt="a"), model=model), Path())


def test_paths_inside_a_folder_become_relative(tmp_path: Path) -> None:
    """A file from the server does not tell where the server keeps its jobs."""
    source, other = tmp_path / "job" / "source.mp4", tmp_path / "other.png"
    source.parent.mkdir()
    for path in (source, other):
        path.write_bytes(b"x")
    metadata = metadata_of(VideoRequest(source=EditInput(video=source, mask=other)))
    relative = metadata.relative_to(source.parent)
    assert relative.request.files() == ("source.mp4", str(other))
    assert [file.path for file in relative.files] == ["source.mp4", str(other)]
    assert relative.request_with_files(source.parent, inputs=[other]).source.video == source


def test_noise_is_not_in_the_file() -> None:
    with pytest.raises(UserError, match="noise"):
        restore_pipeline(metadata_of(VideoRequest(prompt="a"), noise_sha256="0" * 64), Path())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompt": 3}, "prompt"),
        ({"promt": "a"}, "promt"),
        ({"size": [1]}, "size"),
        ({"source": {"kind": "melt", "video": "a.mp4"}}, "source"),
        ({"source": {"kind": "edit", "video": "a.mp4", "strength": 2.0}}, "strength"),
        ([], "JSON object"),
    ],
)
def test_wrong_requests_name_the_field(values, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        VideoRequest.from_dict(values)
    assert "\n" not in str(caught.value)
