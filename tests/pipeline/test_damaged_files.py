"""Damaged and hostile metadata blocks, saved states and checkpoints: each is read or refused in one line."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from kinema.errors import UserError
from kinema.pipeline.metadata import FileDigest, GenerationMetadata, parse_metadata
from kinema.pipeline.reproduce import STATE_FORMAT, load_state, restore_pipeline
from kinema.pipeline.request import ExtendInput, Keyframe, Lora, Shot, VideoRequest
from kinema.server.backends.base import CheckpointError, load_checkpoint
from tests.models.formats.test_damaged_models import change_value, damage_bytes, time_limit

REQUESTS = (
    VideoRequest(prompt="a ball", size=(64, 32), guidance_scale=(3.0, 4.0), seed=3, upscale=2),
    VideoRequest(
        storyboard=(Shot(prompt="a"), Shot(prompt="b", seconds=2.0, transition="blend", image="a.png"))
    ),
    VideoRequest(prompt="a", source=ExtendInput(video="video.mp4"), loras=(Lora(file="lora.safetensors"),)),
    VideoRequest(
        prompt="a", image="data:image/png;base64,AAAA", keyframes=(Keyframe(seconds=1.0, image="b.png"),)
    ),
)


def metadata_values(rng: random.Random) -> dict:
    return GenerationMetadata(
        model="elsewhere", fingerprint="f", request=rng.choice(REQUESTS), device="cpu", dtype="float32",
        int8=False, kinema="0", torch="0", files=(FileDigest(path="a.png", sha256="0" * 64),),
    ).to_dict()  # fmt: skip


def damage_json(values: object, rng: random.Random) -> str:
    for _ in range(rng.choice([1, 1, 2, 5])):
        values = change_value(values, rng)
    text = json.dumps(values)
    kind = rng.random()
    if kind < 0.7:
        return text
    if kind < 0.8:
        return "[" * rng.choice([10, 10**5]) + text
    return damage_bytes(text.encode(), rng).decode("utf-8", "replace")


def use_metadata(metadata: GenerationMetadata, folder: Path) -> None:
    """Everything that `kinema reproduce` and `inspect` do with it before a model is loaded."""
    metadata.to_json()
    metadata.request.files()
    metadata.request_with_files(folder)
    restore_pipeline(metadata, folder)


def damaged_metadata(rng: random.Random, folder: Path) -> None:
    use_metadata(parse_metadata(damage_json(metadata_values(rng), rng), what="a file"), folder)


def damaged_state(rng: random.Random, folder: Path) -> None:
    """Some have the right checksum of wrong content: whoever writes a file can compute it."""
    tensors = [
        torch.zeros(1, 3, 1, 4, 4), torch.zeros(0), torch.full((2, 2), float("nan")),
        torch.zeros(2, dtype=torch.int32), torch.zeros(3, dtype=torch.bool),
        torch.zeros(3, dtype=torch.complex64),
    ]  # fmt: skip
    latents, index = (
        rng.choice([tensors[0], rng.choice(tensors)]),
        rng.choice(["3", "3", "-1", "1e9", "", "٤"]),
    )
    metadata = damage_json(metadata_values(rng), rng)
    digest = hashlib.sha256()
    for part in (str(latents.dtype), str(tuple(latents.shape)), index, metadata):
        digest.update(len(part.encode()).to_bytes(8, "little") + part.encode())
    data = latents.contiguous().view(torch.uint8).numpy().tobytes()
    digest.update(len(data).to_bytes(8, "little") + data)
    header = {
        "format": STATE_FORMAT,
        "index": index,
        "metadata": metadata,
        "sha256": rng.choice([digest.hexdigest(), digest.hexdigest(), "0"]),
    }
    file = save({rng.choice(["latents", "latents", "latents", "x"]): latents}, metadata=header)
    if rng.random() < 0.5:
        file = damage_bytes(file, rng)
    (folder / "a.state").write_bytes(file)
    use_metadata(load_state(folder / "a.state").metadata, folder)


def damaged_checkpoint(rng: random.Random, folder: Path) -> None:
    stream = io.BytesIO()
    index = rng.choice([3, 3, 3, -1, 10**400 if rng.random() < 0.1 else 5, [1, 2], "x", None, 0.5])
    values = rng.choice([
        np.zeros((1, 3, 1, 4, 4), np.float32), np.zeros((1, 3, 1, 4, 4), np.float32), np.float32(0),
        np.zeros(3, bool),
        np.array(["x"]), np.array([None]), np.zeros(3, complex), np.zeros(3, np.uint16), np.full(3, np.nan),
    ])  # fmt: skip
    np.savez(stream, index=np.array(index), state=values)
    data = stream.getvalue()
    for _ in range(rng.choice([0, 1, 1, 3])):
        if rng.random() < 0.5 and b"'shape': (" in data:
            at = data.index(b"'shape': (") + 10
            data = data[:at] + b"9" * rng.choice([1, 3, 9]) + data[at + rng.choice([0, 1, 9]) :]
        else:
            at = rng.randrange(len(data) + 1)
            data = (
                data[:at] + rng.randbytes(rng.choice([0, 1, 2, 8])) + data[at + rng.choice([0, 1, 2, 50]) :]
            )
    (folder / "a.npz").write_bytes(data)
    try:
        _, state = load_checkpoint(folder / "a.npz")
    except CheckpointError as error:
        raise UserError(str(error)) from None
    torch.from_numpy(state)


KINDS = (damaged_metadata, damaged_state, damaged_checkpoint)


def run_fuzz(case: Callable[[random.Random, Path], None], folder: Path, num_cases: int) -> None:
    failures = []
    for seed in range(num_cases):
        try:
            with time_limit():
                case(random.Random(seed), folder)
        except UserError as error:
            if "\n" in str(error).strip():
                failures.append((seed, "several lines", str(error)[:200]))
        except Exception as error:
            failures.append((seed, type(error).__name__, str(error)[:200]))
    assert not failures, "\n".join(map(str, failures))


@pytest.mark.parametrize("case", KINDS)
def test_damaged_files_are_read_or_refused(case, tmp_path):
    run_fuzz(case, tmp_path, 60)


@pytest.mark.slow
@pytest.mark.parametrize("case", KINDS)
def test_five_hundred_damaged_files_are_read_or_refused(case, tmp_path):
    run_fuzz(case, tmp_path, 500)
