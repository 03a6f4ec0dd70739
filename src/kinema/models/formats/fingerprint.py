"""A fingerprint that identifies the weights of a model folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

_FULL_HASH_BYTES, _NUM_SAMPLES, _SAMPLE_BYTES = 16 * 2**20, 16, 64 * 2**10


def fingerprint(path: Path) -> str:
    """SHA-256 over the settings and weights in a model's folder, or over a single file, in hexadecimal.

    A prompt rewriter and a super-resolution network in the folder do not count: videos record what the first
    one wrote, and the second one leaves the generated video as it is. The autoencoder of a model whose index
    names a `base` is that of the base, and counts.

    Settings and small files are hashed whole. Of a weights file above 16 MiB the name, the size, the header
    and sixteen blocks of 64 KiB are hashed. Training changes every block, and a model of 30 GB is hashed in
    milliseconds.
    """
    digest = hashlib.sha256()
    patterns = ("*.json", "*/*.json", "*/*.safetensors", "*.safetensors", "*.gguf", "*.pt", "*.pth")
    files = [path] if path.is_file() else [file for pattern in patterns for file in path.glob(pattern)]
    folder = path.parent if path.is_file() else path
    for file in sorted(files):
        if file.parent.name in ("prompt_rewriter", "super_resolution"):
            continue
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder).as_posix()} {size}\n".encode())
        with file.open("rb") as stream:
            if size <= _FULL_HASH_BYTES:
                digest.update(stream.read())
                continue
            header = int.from_bytes(stream.read(8), "little")
            digest.update(stream.read(min(header, _FULL_HASH_BYTES)))
            for number in range(_NUM_SAMPLES):
                stream.seek((size - _SAMPLE_BYTES) * number // (_NUM_SAMPLES - 1))
                digest.update(stream.read(_SAMPLE_BYTES))
    index = path / "kinema.json"
    base = json.loads(index.read_bytes()).get("base") if index.is_file() else None
    if base and not (path / "vae").exists():
        digest.update(fingerprint(path.resolve().parent / base / "vae").encode())
    return digest.hexdigest()
