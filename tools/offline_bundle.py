"""Prepare training for a machine without a network: code, text encoder and wheels in one folder.

    python -m tools.offline_bundle --out bundle
    bash bundle/start.sh RUN --scale full-simulator --budget 25m     # on the other machine

The text encoder is pruned: it has half precision, and of its 30,522 word pieces those of the simulator's
captions, all single letters (so that every word can be spelled) and the most common ones. The tokenizer
always takes the longest piece that exists, so a text whose pieces are all kept is split as before, and its
embeddings differ only by the rounding to half precision.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
import tyro
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tyro.conf import UseAppendAction

import kinema
from kinema.atomic_io import atomic_write, write_text
from kinema.errors import UserError
from kinema.models.text_encoders.minilm import package_folder
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import make_clip
from kinema.simulator.clip_spec import ClipSpec

NUM_COMMON_PIECES = 6000
"""Word pieces that are kept in any case. The vocabulary is sorted by frequency."""
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
"""Packages that machines for machine learning usually lack; they have torch, numba and scipy."""
START_SCRIPT = """#!/usr/bin/env bash
# Run the full recipe without a network: bash {name} RUN [options of `kinema train full`].
set -euo pipefail
here="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"
out="$1"; shift
python="${{PYTHON:-python3}}"
if compgen -G "$here/wheels/*.whl" > /dev/null; then
    "$python" -m pip install --quiet --no-index --no-deps --target "$here/site" "$here"/wheels/*.whl
fi
export PYTHONPATH="$here/src:$here/site${{PYTHONPATH:+:$PYTHONPATH}}"
if [ -f "$out/full.json" ]; then
    exec "$python" -m kinema train resume "$out" --text-encoder "$here/text"
fi
exec "$python" -m kinema train full --out "$out" --text-encoder "$here/text" "$@"
"""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """The finished bundle.

    Attributes:
        folder: of the bundle.
        bytes_per_part: size of each subfolder.
    """

    folder: Path
    bytes_per_part: dict[str, int]

    @property
    def total_bytes(self) -> int:
        """Size of all subfolders."""
        return sum(self.bytes_per_part.values())


def sample_captions(num_clips: int) -> list[str]:
    """Return every caption of some clips of the whole simulator and of the lab; nothing is rendered."""
    captions: dict[str, None] = {}
    for index in range(num_clips):
        for lab in (False, True):
            clip = make_clip(ClipSpec(seed=index, lab=lab, height=32, width=32), render=False)
            captions |= dict.fromkeys(caption.text for caption in generate_captions(clip.annotations))
    return list(captions)


def prune_text_encoder(folder: Path, texts: Iterable[str], *, num_common: int = NUM_COMMON_PIECES) -> int:
    """Write the text encoder with fewer word pieces, in half precision.

    Args:
        folder: created if it does not exist; `MiniLm.load` reads it.
        texts: all of their word pieces are kept.
        num_common: number of the most common word pieces to keep as well.

    Returns:
        The number of word pieces that are kept.
    """
    source = package_folder()
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_padding()
    used = {piece for encoding in tokenizer.encode_batch(list(texts)) for piece in encoding.ids}
    settings = json.loads((source / "tokenizer.json").read_text())
    vocabulary: dict[str, int] = settings["model"]["vocab"]
    special = {entry["id"] for entry in settings["added_tokens"]}
    letters = {index for piece, index in vocabulary.items() if len(piece.removeprefix("##")) == 1}
    unused = {index for piece, index in vocabulary.items() if piece.startswith("[unused")}
    most_common = [index for index in range(len(vocabulary)) if index not in unused][:num_common]
    kept = sorted(used | special | letters | set(most_common))
    new_index = {old: new for new, old in enumerate(kept)}

    settings["model"]["vocab"] = {
        piece: new_index[index] for piece, index in vocabulary.items() if index in new_index
    }
    for entry in settings["added_tokens"]:
        entry["id"] = new_index[entry["id"]]
    for entry in settings["post_processor"].get("special_tokens", {}).values():
        entry["ids"] = [new_index[index] for index in entry["ids"]]
    settings["truncation"] = settings["padding"] = None
    weights = load_file(source / "model.safetensors")
    weights[EMBEDDING_KEY] = weights[EMBEDDING_KEY][torch.tensor(kept)]
    folder.mkdir(parents=True, exist_ok=True)
    half_precision = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in weights.items()
    }
    with atomic_write(folder / "model.safetensors") as temporary:
        save_file(half_precision, temporary)
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
    """Write a folder from which a machine without a network runs the full recipe: `bash start.sh RUN`.

    Args:
        folder: created if it does not exist.
        num_clips: simulator clips whose words the text encoder keeps.
        wheels: packages to download, in the versions of this environment; empty for none.
        python: Python version of the other machine.
        platforms: platform tags of wheels for the other machine.

    Raises:
        UserError: a wheel can't be downloaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    code = Path(kinema.__file__).parent
    target = folder / "src" / "kinema"
    shutil.rmtree(target, ignore_errors=True)
    # Training needs neither the server, the web page nor the weights of the prompt rewriter.
    left_out = shutil.ignore_patterns("__pycache__", "webui", "server", "client", "prompt_rewriter")
    shutil.copytree(code, target, ignore=left_out)
    prune_text_encoder(folder / "text", sample_captions(num_clips))
    requirements = [f"{name}=={_installed_version(name)}" for name in wheels]
    if requirements:
        _download_wheels(requirements, folder / "wheels", python=python, platforms=platforms)
    write_text(folder / "start.sh", START_SCRIPT.format(name="start.sh"))
    parts = {part: _dir_size(folder / part) for part in ("src", "text", "wheels")}
    return Bundle(folder=folder, bytes_per_part=parts)


def _download_wheels(requirements: list[str], target: Path, *, python: str, platforms: Iterable[str]) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", python, "--implementation", "cp", "--dest", str(target)]
    for platform in platforms:
        command += ["--platform", platform]
    finished = subprocess.run([*command, *requirements], capture_output=True, text=True, check=False)
    if finished.returncode:
        reason = (finished.stderr.strip().splitlines() or ["pip printed no error"])[-1]
        raise UserError(f"a wheel can't be downloaded ({reason}); choose others with --wheels")


def _installed_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        raise UserError(
            f"{name} is not installed here, so its version is unknown; install it first"
        ) from None


def _dir_size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


@dataclass(frozen=True, kw_only=True)
class BundleArgs:
    """Prepare a folder with which a machine without a network runs the full recipe."""

    out: Path
    """Folder to write."""
    clips: int = 400
    """Simulator clips whose words the text encoder keeps."""
    wheels: UseAppendAction[tuple[str, ...]] = ()
    """Package to include; without the option those that machines for machine learning usually lack."""
    no_wheels: bool = False
    """Include no packages."""
    python: str = "3.12"
    """Python version of the other machine."""


def main(arguments: list[str] | None = None) -> None:
    """Write the bundle and print its size. Exits with 2 if it can't be written."""
    args = tyro.cli(BundleArgs, prog="offline_bundle", args=arguments)
    wheels = () if args.no_wheels else (args.wheels or DEFAULT_WHEELS)
    try:
        bundle = build_bundle(args.out, num_clips=args.clips, wheels=wheels, python=args.python)
    except UserError as error:
        print(f"offline_bundle: {error}", file=sys.stderr)
        sys.exit(2)
    for part, size in {**bundle.bytes_per_part, "all": bundle.total_bytes}.items():
        print(f"{part:8} {size / 2**20:6.1f} MiB")
    print(f"on the other machine: bash {bundle.folder.name}/start.sh RUN --scale full-simulator --budget 25m")


if __name__ == "__main__":
    main()
