"""A fingerprint that identifies the weights of a model folder."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

_FULL_HASH_BYTES, _NUM_SAMPLES, _SAMPLE_BYTES = 16 * 2**20, 16, 64 * 2**10


class _File(NamedTuple):
    """A file as it was when it was hashed."""

    path: Path
    size: int
    modified_ns: int

    @staticmethod
    def of(path: Path) -> _File:
        stat = path.stat()
        return _File(path, stat.st_size, stat.st_mtime_ns)


def fingerprint(path: Path) -> str:
    """SHA-256 over the settings and weights in a model's folder, or over a single file, in hexadecimal.

    A prompt rewriter and a super-resolution network in the folder do not count: videos record what the first
    one wrote, and the second one leaves the generated video as it is. The autoencoder of a model whose index
    names a `base` is that of the base, and counts.

    Settings and small files are hashed whole. Of a weights file above 16 MiB the name, the size, the header
    and sixteen blocks of 64 KiB are hashed. Training changes every block, and a model of 30 GB is hashed in
    milliseconds. A process hashes a folder again only if the size or the time of change of a file differs.
    """
    patterns = ("*.json", "*/*.json", "*/*.safetensors", "*.safetensors", "*.gguf", "*.pt", "*.pth")
    files = [path] if path.is_file() else [file for pattern in patterns for file in path.glob(pattern)]
    counted = [file for file in files if file.parent.name not in ("prompt_rewriter", "super_resolution")]
    index = path / "kinema.json"
    base = json.loads(index.read_bytes()).get("base") if index.is_file() else None
    is_part_of_base = base and not (path / "vae").exists()
    return _digest(
        path.parent if path.is_file() else path,
        tuple(map(_File.of, sorted(counted))),
        fingerprint(path.resolve().parent / base / "vae") if is_part_of_base else "",
    )


@functools.lru_cache(maxsize=64)
def _digest(folder: Path, files: tuple[_File, ...], base_fingerprint: str) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.path.relative_to(folder).as_posix()} {file.size}\n".encode())
        with file.path.open("rb") as stream:
            if file.size <= _FULL_HASH_BYTES:
                digest.update(stream.read())
                continue
            header = int.from_bytes(stream.read(8), "little")
            digest.update(stream.read(min(header, _FULL_HASH_BYTES)))
            for number in range(_NUM_SAMPLES):
                stream.seek((file.size - _SAMPLE_BYTES) * number // (_NUM_SAMPLES - 1))
                digest.update(stream.read(_SAMPLE_BYTES))
    digest.update(base_fingerprint.encode())
    return digest.hexdigest()
