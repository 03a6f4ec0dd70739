"""A training to be carried to a machine without a network: code, text encoder and wheels in one folder.

The text encoder is cut down for the journey: half precision, and of its 30,522 word pieces those that the
film set's captions use, all single letters (so that any word can still be spelled) and the commonest.
A text whose pieces are all kept is split as before, because the splitting always takes the longest piece
that is there; its states differ by the rounding to half precision alone.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

import kinema
from kinema.atomic_io import atomic_write, write_text
from kinema.errors import UserError
from kinema.models.text_encoders.minilm import package_folder
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import make_clip
from kinema.simulator.clip_spec import ClipSpec

NUM_COMMON_PIECES = 6000
"""Of the pieces, which stand in the order of how common they are, so many are kept in any case."""
EMBEDDING_KEY = "embeddings.word_embeddings.weight"
DEFAULT_WHEELS = (
    "mujoco-core",
    "av",
    "tyro",
    "docstring-parser",
    "typeguard",
    "ftfy",
    "wcwidth",
    "tensorboardX",
)
"""What a machine made for learning lacks; torch, numba, scipy and the like are on it."""
START_SCRIPT = """#!/usr/bin/env bash
# The whole recipe, offline: bash {name} RUN [further options of `kinema train release`].
set -euo pipefail
here="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"
out="$1"; shift
python="${{PYTHON:-python3}}"
if compgen -G "$here/wheels/*.whl" > /dev/null; then
    "$python" -m pip install --quiet --no-index --no-deps --target "$here/site" "$here"/wheels/*.whl
fi
export PYTHONPATH="$here/src:$here/site${{PYTHONPATH:+:$PYTHONPATH}}"
if [ -f "$out/release.json" ]; then
    exec "$python" -m kinema train resume "$out" --text "$here/text"
fi
exec "$python" -m kinema train release --out "$out" --text "$here/text" "$@"
"""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What was prepared."""

    folder: Path
    bytes_per_part: dict[str, int]
    """Bytes of each part."""

    @property
    def total_bytes(self) -> int:
        """Of all parts."""
        return sum(self.bytes_per_part.values())


def sample_captions(num_clips: int) -> list[str]:
    """Every caption of some clips of the whole set and of the lab; nothing is drawn but what they need."""
    told: dict[str, None] = {}
    for index in range(num_clips):
        for lab in (False, True):
            clip = make_clip(ClipSpec(seed=index, lab=lab, height=32, width=32), render=False)
            told |= dict.fromkeys(caption.text for caption in generate_captions(clip.annotations))
    return list(told)


def prune_text_encoder(folder: Path, texts: Iterable[str], *, num_common: int = NUM_COMMON_PIECES) -> int:
    """Write the text encoder with fewer word pieces, in half precision.

    Args:
        folder: made if it does not exist; `MiniLm.load` reads it.
        texts: all of their pieces are kept.
        num_common: so many of the commonest pieces are kept besides.

    Returns:
        How many pieces are left.
    """
    source = package_folder()
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_padding()
    used = {piece for encoding in tokenizer.encode_batch(list(texts)) for piece in encoding.ids}
    settings = json.loads((source / "tokenizer.json").read_text())
    vocabulary: dict[str, int] = settings["model"]["vocab"]
    special = {entry["id"] for entry in settings["added_tokens"]}
    letters = {number for piece, number in vocabulary.items() if len(piece.removeprefix("##")) == 1}
    unused = {number for piece, number in vocabulary.items() if piece.startswith("[unused")}
    commonest = [number for number in range(len(vocabulary)) if number not in unused][:num_common]
    kept = sorted(used | special | letters | set(commonest))
    place = {old: new for new, old in enumerate(kept)}

    settings["model"]["vocab"] = {
        piece: place[number] for piece, number in vocabulary.items() if number in place
    }
    for entry in settings["added_tokens"]:
        entry["id"] = place[entry["id"]]
    for entry in settings["post_processor"].get("special_tokens", {}).values():
        entry["ids"] = [place[number] for number in entry["ids"]]
    settings["truncation"] = settings["padding"] = None
    weights = load_file(source / "model.safetensors")
    weights[EMBEDDING_KEY] = weights[EMBEDDING_KEY][torch.tensor(kept)]
    folder.mkdir(parents=True, exist_ok=True)
    halves = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in weights.items()
    }
    with atomic_write(folder / "model.safetensors") as beside:
        save_file(halves, beside)
    write_text(folder / "tokenizer.json", json.dumps(settings, ensure_ascii=False))
    return len(kept)


def build_bundle(
    folder: Path,
    *,
    num_clips: int = 400,
    wheels: Iterable[str] = DEFAULT_WHEELS,
    python: str = "3.12",
    platforms: Iterable[str] = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64"),
) -> Bundle:
    """Prepare a folder from which a machine without a network runs the release recipe: `bash start.sh RUN`.

    Args:
        folder: made if it does not exist.
        num_clips: of the film set, whose words the text encoder keeps.
        wheels: packages to take along, in this environment's versions; empty takes none.
        python: of the other machine.
        platforms: that its wheels may be for.

    Raises:
        UserError: a wheel can't be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    code = Path(kinema.__file__).parent
    target = folder / "src" / "kinema"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(code, target, ignore=shutil.ignore_patterns("__pycache__"))
    prune_text_encoder(folder / "text", sample_captions(num_clips))
    wanted = [f"{name}=={_installed_version(name)}" for name in wheels]
    if wanted:
        _download_wheels(wanted, folder / "wheels", python=python, platforms=platforms)
    write_text(folder / "start.sh", START_SCRIPT.format(name="start.sh"))
    parts = {part: _dir_size(folder / part) for part in ("src", "text", "wheels")}
    return Bundle(folder=folder, bytes_per_part=parts)


def _download_wheels(requirements: list[str], target: Path, *, python: str, platforms: Iterable[str]) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", python, "--implementation", "cp", "--dest", str(target)]
    for platform in platforms:
        command += ["--platform", platform]
    done = subprocess.run([*command, *requirements], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise UserError(f"a wheel can't be had ({last}); name others with --wheels, or take none")


def _installed_version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        raise UserError(
            f"{name} is not installed here, so its version is unknown; install it first"
        ) from None


def _dir_size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
