"""Hidden states of prompts, kept on disk, so that a prompt that was used before needs no text encoder.

The text encoder of Wan has 11 GB. A file of the cache holds the states of one prompt, exactly as the encoder
gave them; its name is a digest of the prompt, the encoder's files, and what else changes a number. The files
are in `$XDG_CACHE_HOME/kinema/text` (`~/.cache/kinema/text`) and take at most 512 MiB: those that were not
used for the longest time are removed. A damaged or unwritable file only costs the time of encoding again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.atomic_io import atomic_write
from kinema.errors import UserError
from kinema.models.formats.wan import WanCheckpoint
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.pipeline.machine_cache import cache_folder

_MAX_BYTES = 512 * 2**20
_STATES = "states"


def encoder_fingerprint(model: WanCheckpoint, dtype: torch.dtype, device: torch.device) -> str:
    """A digest of all that the states of a prompt depend on, besides the prompt.

    Files count by path, size and time of change: reading them would take as long as encoding.
    """
    parts = model.parts
    files = {tensor.file for tensor in model.list_tensors("text_encoder").values()}
    if parts.tokenizer is not None and parts.tokenizer.is_dir():
        files.update(path for path in parts.tokenizer.iterdir() if path.is_file())
    stamps = []
    for file in sorted(files):
        stat = file.stat()
        stamps.append((str(file.resolve()), stat.st_size, stat.st_mtime_ns))
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    values = (stamps, str(dtype), hardware, torch.__version__, model.dit.text_length)
    return hashlib.sha256(repr(values).encode()).hexdigest()


def encode_cached(
    prompts: Sequence[str],
    fingerprint: str,
    encode: Callable[[list[str]], TextEmbeddings],
    *,
    max_bytes: int = _MAX_BYTES,
) -> TextEmbeddings:
    """The states of prompts, in order, each in its own length; those that are not in the cache are encoded.

    Args:
        prompts: each once.
        fingerprint: see `encoder_fingerprint`.
        encode: the text encoder; it is called at most once.
        max_bytes: what all files together may take.
    """
    files = [_file(prompt, fingerprint) for prompt in prompts]
    found = [_read(file) for file in files]
    missing = [index for index, states in enumerate(found) if states is None]
    if missing:
        embeddings = encode([prompts[index] for index in missing])
        for row, index in enumerate(missing):
            states = embeddings.hidden_states[row, : int(embeddings.lengths[row])]
            found[index] = states
            _write(files[index], states)
        _remove_oldest(max_bytes, keep=files)
    rows = [states for states in found if states is not None]
    # States from files are on the CPU; `Dit.context` moves them.
    device = rows[0].device if len({row.device for row in rows}) == 1 else torch.device("cpu")
    return TextEmbeddings.from_list([row.to(device) for row in rows])


def _file(prompt: str, fingerprint: str) -> Path:
    digest = hashlib.sha256(f"{fingerprint}\0{prompt}".encode(errors="surrogatepass")).hexdigest()
    return cache_folder() / "text" / f"{digest}.safetensors"


def _read(file: Path) -> Float[Tensor, "l d"] | None:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        states = load(file.read_bytes())[_STATES]
        os.utime(file)
    except (OSError, KeyError, SafetensorError):
        return None
    return states if states.dim() == 2 and len(states) and states.isfinite().all() else None


def _write(file: Path, states: Float[Tensor, "l d"]) -> None:
    from safetensors.torch import save

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as temporary:
            temporary.write_bytes(save({_STATES: states.cpu().contiguous()}))
    except (OSError, UserError):
        pass


def _remove_oldest(max_bytes: int, *, keep: Iterable[Path]) -> None:
    """Remove files until the rest fits; other processes may do the same."""
    try:
        stats = [(file, file.stat()) for file in (cache_folder() / "text").glob("*.safetensors")]
    except OSError:
        return
    total, kept = sum(stat.st_size for _, stat in stats), set(keep)
    for file, stat in sorted(stats, key=lambda pair: pair[1].st_mtime_ns):
        if total <= max_bytes:
            return
        if file not in kept:
            total -= stat.st_size
            try:
                file.unlink(missing_ok=True)
            except OSError:
                return
