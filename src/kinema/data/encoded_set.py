"""Latents and text states of a curated set, encoded once and kept next to it.

    SET/cache/<clip encoder>/<WIDTHxHEIGHTxFRAMES>/00000.safetensors     tensors `<clip_id>/<name>`
    SET/cache/<text encoder>/texts/00000.safetensors                     tensors `<SHA-256 of the text>`

The folder names are digests of the encoders' fingerprints. The headers of the shards are the index. What a
shard has is never encoded again: a changed caption encodes its text only, and a model has its own folders.
An interrupted run continues at the first missing shard and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import safetensors.torch
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kinema.atomic_io import write_bytes
from kinema.data.caption_choice import CaptionConfig
from kinema.data.clip_reader import ClipRequest, read_order, read_requests
from kinema.data.clip_table import ClipRow, parse_bucket, read_clips
from kinema.data.cropping import to_model_input
from kinema.data.latent_cache import EncodeProgress
from kinema.errors import UserError
from kinema.models.precision import Precision, autocast
from kinema.models.text_encoders.base import TextEncoder
from kinema.models.vae.autoencoder import VideoVae

CLIPS_PER_SHARD, TEXTS_PER_SHARD = 16, 64
Bucket = tuple[int, int, int]
"""Width, height and frames in pixels."""


@runtime_checkable
class ClipEncoder(Protocol):
    """Turns clips into the tensors that training reads."""

    @property
    def fingerprint(self) -> str:
        """Identifies the weights, the type and the normalisation."""
        ...

    def encode(self, frames: Float[Tensor, "b 3 f h w"]) -> Mapping[str, Tensor]:
        """Tensors with the batch in front; `latents` is required."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class VaeClipEncoder:
    """A `ClipEncoder` that gives the normalised latents of an autoencoder, float32."""

    vae: VideoVae
    fingerprint: str
    device: torch.device
    precision: Precision = "auto"

    def encode(self, frames: Float[Tensor, "b 3 f h w"]) -> Mapping[str, Tensor]:
        """`latents`: b c f h w."""
        with autocast(self.precision, self.device):
            return {"latents": self.vae.encode(frames.to(self.device)).float()}


@dataclass(frozen=True, kw_only=True)
class EncodedSample:
    """A clip in one of its buckets.

    Attributes:
        clip_id: of the table.
        bucket: width, height and frames.
        captions: of the clip, the plain one first.
        repeats: how often it is used in an epoch.
        source: the file that it is from.
    """

    clip_id: str
    bucket: Bucket
    captions: tuple[str, ...]
    repeats: int
    source: str


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedSet:
    """An encoded set.

    Attributes:
        samples: sorted by clip_id and bucket.
        shards: the file of each sample, by clip_id and bucket.
        text_shards: the file of each text, by its digest.
    """

    samples: tuple[EncodedSample, ...]
    shards: Mapping[tuple[str, Bucket], Path] = field(repr=False)
    text_shards: Mapping[str, Path] = field(repr=False)

    def __len__(self) -> int:
        return len(self.samples)

    def tensors(self, index: int) -> dict[str, Tensor]:
        """The tensors of a sample; `latents` is c f h w. Only these are read from the file."""
        sample = self.samples[index]
        prefix = f"{sample.clip_id}/"
        with safe_open(self.shards[sample.clip_id, sample.bucket], framework="pt") as file:
            names = [name for name in list(file.keys()) if name.startswith(prefix)]
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}

    def text(self, text: str) -> Float[Tensor, "l d"]:
        """The states of a text that was encoded; the empty one is the unconditional prompt.

        Raises:
            UserError: it was not encoded.
        """
        digest = _text_digest(text)
        if digest not in self.text_shards:
            raise UserError(
                f"the text {text[:60]!r} is not encoded; encode the set with these caption options"
            )
        with safe_open(self.text_shards[digest], framework="pt") as file:
            return file.get_tensor(digest)

    def split(self, held_out_share: float) -> tuple[EncodedSet, EncodedSet]:
        """Samples to train on, and samples to validate on.

        All clips of a source are on one side, where there are several sources.

        Args:
            held_out_share: of the samples, 0 to below 1.

        Raises:
            UserError: nothing is left to train on.
        """
        if held_out_share <= 0:
            return self, replace(self, samples=())
        one_source = len({sample.source for sample in self.samples}) == 1

        def key(sample: EncodedSample) -> str:
            name = sample.clip_id if one_source else sample.source
            return hashlib.blake2b(f"held out {name}".encode()).hexdigest()

        ordered = sorted(self.samples, key=lambda sample: (key(sample), sample.clip_id, sample.bucket))
        count = max(1, round(held_out_share * len(ordered)))
        border = key(ordered[count - 1])
        held_out = tuple(sample for sample in self.samples if key(sample) <= border)
        train = tuple(sample for sample in self.samples if key(sample) > border)
        if not train:
            raise UserError(
                f"{len(self.samples)} clips are too few to hold out {held_out_share:g} of them; "
                "add videos or hold out fewer"
            )
        return replace(self, samples=train), replace(self, samples=held_out)


def encode_set(
    folder: Path,
    clip_encoder: ClipEncoder,
    text_fingerprint: str,
    load_text_encoder: Callable[[], TextEncoder],
    *,
    captions: CaptionConfig | None = None,
    device: torch.device,
    precision: Precision = "auto",
) -> Iterator[EncodeProgress]:
    """Encode what the set lacks: latents of kept clips and states of their captions.

    Args:
        folder: of the set.
        clip_encoder: of the clips.
        text_fingerprint: of the text encoder.
        load_text_encoder: called where texts are missing.
        captions: how captions are changed; the changed texts are encoded.
        device: of the text encoder and of the frames.
        precision: of the text encoder.

    Raises:
        UserError: the set has no kept clips, or a source has changed.
    """
    rows = _kept_rows(folder)
    yield from _encode_clips(folder, rows, clip_encoder, device)
    changed = captions or CaptionConfig()
    texts = {text for row in rows for text in changed.texts(row.captions)} | {""}
    yield from _encode_texts(folder, sorted(texts), text_fingerprint, load_text_encoder, device, precision)


def open_encoded_set(folder: Path, *, clip_fingerprint: str, text_fingerprint: str) -> EncodedSet:
    """Open what `encode_set` wrote.

    Raises:
        UserError: clips are not encoded yet.
    """
    shards: dict[tuple[str, Bucket], Path] = {}
    samples: list[EncodedSample] = []
    rows = _kept_rows(folder)
    for bucket in sorted({bucket for row in rows for bucket in row.buckets}):
        for name, path in _index(_clip_folder(folder, clip_fingerprint, bucket)).items():
            shards[name.split("/")[0], parse_bucket(bucket)] = path
    for row in rows:
        for bucket in sorted(set(row.buckets)):
            samples.append(
                EncodedSample(
                    clip_id=row.clip_id,
                    bucket=parse_bucket(bucket),
                    captions=row.captions,
                    repeats=row.repeats,
                    source=row.source,
                )
            )
    missing = sum((sample.clip_id, sample.bucket) not in shards for sample in samples)
    if missing:
        raise UserError(f"{missing} of {len(samples)} clips of {folder} are not encoded for this model")
    return EncodedSet(
        samples=tuple(samples), shards=shards, text_shards=_index(_text_folder(folder, text_fingerprint))
    )


def _kept_rows(folder: Path) -> list[ClipRow]:
    rows = [row for row in read_clips(folder) if row.kept]
    if not rows:
        raise UserError(
            f"{folder} has no kept clips; see `kinema data report {folder}` for the reasons and change a "
            "threshold with `kinema data filter`"
        )
    return rows


@torch.no_grad()
def _encode_clips(
    folder: Path, rows: Sequence[ClipRow], encoder: ClipEncoder, device: torch.device
) -> Iterator[EncodeProgress]:
    total = sum(len(set(row.buckets)) for row in rows)
    done = 0
    for bucket in sorted({bucket for row in rows for bucket in row.buckets}):
        target = _clip_folder(folder, encoder.fingerprint, bucket)
        index = _index(target)
        present = {name.split("/")[0] for name in index}
        width, height, _ = parse_bucket(bucket)
        members = [row for row in rows if bucket in row.buckets]
        requests = [
            ClipRequest(row=row, size=(width, height)) for row in members if row.clip_id not in present
        ]
        done += len(members) - len(requests)
        yield EncodeProgress(stage="latents", done=done, total=total)
        shard = len(set(index.values()))
        tensors: dict[str, Tensor] = {}
        stream = read_requests(sorted(requests, key=read_order))
        for count, (request, frames) in enumerate(stream, 1):
            encoded = encoder.encode(to_model_input(frames[None], device))
            for name, value in encoded.items():
                tensors[f"{request.row.clip_id}/{name}"] = value[0].cpu().contiguous()
            done += 1
            if count % CLIPS_PER_SHARD == 0 or count == len(requests):
                _write_shard(target, shard, tensors, encoder.fingerprint)
                shard, tensors = shard + 1, {}
            yield EncodeProgress(stage="latents", done=done, total=total)


@torch.no_grad()
def _encode_texts(
    folder: Path,
    texts: Sequence[str],
    fingerprint: str,
    load_text_encoder: Callable[[], TextEncoder],
    device: torch.device,
    precision: Precision,
) -> Iterator[EncodeProgress]:
    target = _text_folder(folder, fingerprint)
    index = _index(target)
    missing = [text for text in texts if _text_digest(text) not in index]
    done = len(texts) - len(missing)
    yield EncodeProgress(stage="texts", done=done, total=len(texts))
    encoder = load_text_encoder() if missing else None
    shard = len(set(index.values()))
    for first in range(0, len(missing), TEXTS_PER_SHARD):
        if encoder is None:
            break
        chunk = missing[first : first + TEXTS_PER_SHARD]
        tensors: dict[str, Tensor] = {}
        for text in chunk:
            with autocast(precision, device):
                encoded = encoder.encode([text])
            states = encoded.hidden_states[0, : int(encoded.lengths[0])]
            tensors[_text_digest(text)] = states.cpu().contiguous()
        _write_shard(target, shard, tensors, fingerprint)
        shard, done = shard + 1, done + len(chunk)
        yield EncodeProgress(stage="texts", done=done, total=len(texts))


def _write_shard(folder: Path, number: int, tensors: Mapping[str, Tensor], fingerprint: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = safetensors.torch.save(dict(sorted(tensors.items())), metadata={"fingerprint": fingerprint})
    write_bytes(folder / f"{number:05d}.safetensors", data)


def _index(folder: Path) -> dict[str, Path]:
    """The shard of each tensor of a folder."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.safetensors")):
        if path.name.startswith("."):
            continue
        try:
            with safe_open(path, framework="pt") as file:
                found |= dict.fromkeys(list(file.keys()), path)
        except (OSError, SafetensorError):
            raise UserError(f"{path} is damaged; delete it, and it is encoded again") from None
    return found


def _clip_folder(folder: Path, fingerprint: str, bucket: str) -> Path:
    return folder / "cache" / _digest(fingerprint) / bucket


def _text_folder(folder: Path, fingerprint: str) -> Path:
    return folder / "cache" / _digest(fingerprint) / "texts"


def _digest(fingerprint: str) -> str:
    return hashlib.blake2b(fingerprint.encode(), digest_size=8).hexdigest()


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
