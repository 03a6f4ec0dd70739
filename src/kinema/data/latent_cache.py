"""Latents of videos and embeddings of captions, computed once and stored for transformer training.

The folder has `latents.safetensors` and `captions.json` for the first dataset, `latents-N.safetensors` and
`captions-N.json` for the others, and `text_embeddings.safetensors` with `texts.json` for all of them.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from kinema.atomic_io import atomic_write, write_text
from kinema.data.cropping import to_model_input
from kinema.data.dataset import DatasetSplit, SubsetVideos, VideoDataset
from kinema.errors import UserError
from kinema.models.precision import Precision, autocast
from kinema.models.text_encoders.base import TextEmbeddings, TextEncoder
from kinema.models.vae.autoencoder import VideoVae

TEXT_EMBEDDINGS_FILE = "text_embeddings.safetensors"
TEXTS_FILE = "texts.json"
VIDEOS_PER_PART = 128
"""Videos that an interrupted encoding encodes again at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentDataset:
    """Videos of one shape as latents.

    Attributes:
        latents: normalised.
        captions: for each video the rows of `text_embeddings` that describe it, the plain caption first.
        text_embeddings: of each distinct caption, tokens by channels; the last row is the empty prompt.
        starts_midclip: whether the videos are windows that may start in the middle of an event.
        weight: see `kinema.data.dataset.DatasetSplit`.
    """

    latents: Float[Tensor, "n c f h w"]
    captions: tuple[tuple[int, ...], ...]
    text_embeddings: tuple[Float[Tensor, "_ d"], ...]
    starts_midclip: bool = False
    weight: float | None = None

    def __len__(self) -> int:
        return len(self.latents)

    def subset(self, start: int, stop: int) -> LatentDataset:
        """Return the videos from `start` up to but not including `stop`."""
        return dataclasses.replace(self, latents=self.latents[start:stop], captions=self.captions[start:stop])


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentDatasets:
    """All datasets of a run, with the captions as text.

    Attributes:
        train: to train on.
        held_out: to validate on, one for each dataset of `train`.
        texts: the captions, in the order of the text embeddings' rows.
    """

    train: tuple[LatentDataset, ...]
    held_out: tuple[LatentDataset, ...]
    texts: tuple[str, ...]

    def prompts(self, dataset_index: int, num_prompts: int) -> list[tuple[str, int]]:
        """Return distinct plain captions of the first held-out videos of a dataset, with their rows."""
        rows = dict.fromkeys(captions[0] for captions in self.held_out[dataset_index].captions)
        return [(self.texts[row], row) for row in list(rows)[:num_prompts]]


class TextEmbeddingTable:
    """The embeddings of all captions in one tensor, so that a batch of them is one gather on any device."""

    def __init__(self, embeddings: Sequence[Float[Tensor, "_ d"]], device: torch.device) -> None:
        lengths = torch.tensor([len(one) for one in embeddings])
        self.lengths = lengths
        self._starts = lengths.cumsum(0) - lengths
        self._tokens = torch.cat(list(embeddings)).to(device)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def empty_row(self) -> int:
        """The row of the empty prompt."""
        return len(self) - 1

    def batch(self, rows: Sequence[int], *, pad_to_multiple: int = 1) -> TextEmbeddings:
        """Return the embeddings of some captions in float32, zero-padded to a common length.

        Args:
            rows: of the captions.
            pad_to_multiple: the common length is the smallest multiple of this that fits.
        """
        picked = torch.tensor(list(rows))
        lengths = self.lengths[picked]
        positions = torch.arange(-(-int(lengths.max()) // pad_to_multiple) * pad_to_multiple)
        is_token = positions < lengths[:, None]
        device = self._tokens.device
        index = torch.where(is_token, self._starts[picked][:, None] + positions, 0).to(device)
        states = self._tokens[index].float() * is_token[..., None].to(device)
        return TextEmbeddings(hidden_states=states, lengths=lengths)

    def statistics(self) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
        """Return mean and standard deviation of every channel over all tokens."""
        tokens = self._tokens.float()
        return tokens.mean(0), tokens.std(0)


@dataclass(frozen=True, kw_only=True)
class EncodeProgress:
    """Videos or texts encoded so far, of `total`, including those of earlier runs."""

    done: int
    total: int
    stage: Literal["latents", "texts"] = "latents"


@torch.no_grad()
def encode_videos(
    vae: VideoVae,
    videos: VideoDataset,
    device: torch.device,
    *,
    batch_size: int = 16,
    precision: Precision = "auto",
) -> Iterator[tuple[EncodeProgress, Float[Tensor, "b c f h w"]]]:
    """Encode videos and yield their normalised latents batch by batch, float32 on the CPU."""
    for first in range(0, len(videos), batch_size):
        picked = range(first, min(first + batch_size, len(videos)))
        frames = np.stack([videos.frames(index) for index in picked])
        with autocast(precision, device):
            latents = vae.encode(to_model_input(frames, device)).to("cpu", torch.float32)
        yield EncodeProgress(done=picked.stop, total=len(videos)), latents


@torch.no_grad()
def encode_captions(
    encoder: TextEncoder,
    datasets: Sequence[VideoDataset],
    device: torch.device,
    *,
    batch_size: int = 128,
    precision: Precision = "auto",
) -> Generator[EncodeProgress, None, tuple[list[str], list[Tensor]]]:
    """Encode every distinct caption of some datasets, and yield the progress.

    In bfloat16 the standardised embeddings of MiniLM have an error of 0.7% (root mean square; 1.0% in the
    worst channel).

    Returns:
        The texts, sorted, with the empty prompt last; and the embedding of each, tokens by channels, in
        float16.
    """
    captions = {text for dataset in datasets for i in range(len(dataset)) for text in dataset.captions(i)}
    texts = [*sorted(captions - {""}), ""]
    # Sorted by length, a batch has little padding.
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    embeddings: list[Tensor] = [torch.empty(0)] * len(texts)
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        with autocast(precision, device):
            encoded = encoder.encode([texts[row] for row in rows])
        positions = torch.arange(encoded.hidden_states.shape[1], device=encoded.lengths.device)
        is_token = positions < encoded.lengths[:, None]
        # One tensor per batch: a hundred thousand small ones would fragment the heap, and the training that
        # follows in the same process would be a third slower.
        tokens = encoded.hidden_states[is_token.to(encoded.hidden_states.device)].cpu().half()
        for row, embedding in zip(rows, tokens.split(encoded.lengths.tolist()), strict=True):
            embeddings[row] = embedding
        yield EncodeProgress(done=first + len(rows), total=len(order), stage="texts")
    return texts, embeddings


def write_latent_datasets(
    folder: Path,
    vae: VideoVae,
    splits: Sequence[DatasetSplit],
    load_text_encoder: Callable[[], TextEncoder],
    device: torch.device,
    *,
    precision: Precision = "auto",
) -> Iterator[EncodeProgress]:
    """Encode what the folder lacks: the latents of all videos and the embeddings of all captions.

    Latents are written part by part, so that an interrupted encoding continues.

    Args:
        folder: must exist.
        vae: the encoder of the latents.
        splits: the datasets.
        load_text_encoder: called where the text embeddings are missing.
        device: of the encoders.
        precision: of the encoders.

    Yields:
        Progress on the training videos of each dataset, then on the captions.
    """
    for i, split in enumerate(splits):
        path = _latents_path(folder, i)
        if path.is_file():
            continue
        parts = path.with_suffix(".parts")
        latents = {}
        for name, videos in (("train", split.train), ("held_out", split.held_out)):
            for done in _encode_parts(parts, name, vae, videos, device, precision):
                if name == "train":
                    yield EncodeProgress(done=done, total=len(videos))
            latents[name] = torch.cat(
                [safetensors.torch.load_file(part)["latents"] for part in sorted(parts.glob(f"{name}-*"))]
            )
        _save_tensors(path, latents)
        shutil.rmtree(parts)
    if not (folder / TEXT_EMBEDDINGS_FILE).is_file():
        datasets = [dataset for split in splits for dataset in (split.train, split.held_out)]
        texts, embeddings = yield from encode_captions(
            load_text_encoder(), datasets, device, precision=precision
        )
        lengths = torch.tensor([len(one) for one in embeddings])
        _save_tensors(
            folder / TEXT_EMBEDDINGS_FILE, {"embeddings": torch.cat(embeddings), "lengths": lengths}
        )
        write_text(folder / TEXTS_FILE, json.dumps(texts))
    row_by_caption = {text: row for row, text in enumerate(json.loads((folder / TEXTS_FILE).read_text()))}
    for i, split in enumerate(splits):
        path = _captions_path(folder, i)
        if not path.is_file():
            values = {
                "train": _caption_rows(split.train, row_by_caption),
                "held_out": _caption_rows(split.held_out, row_by_caption),
                "starts_midclip": split.starts_midclip,
                "weight": split.weight,
            }
            write_text(path, json.dumps(values) + "\n")


def _encode_parts(
    folder: Path, name: str, vae: VideoVae, videos: VideoDataset, device: torch.device, precision: Precision
) -> Iterator[int]:
    """Encode the parts of a dataset that a folder lacks; yield the number of encoded videos."""
    folder.mkdir(exist_ok=True)
    for first in range(0, len(videos), VIDEOS_PER_PART):
        part = SubsetVideos(videos=videos, start=first, count=min(VIDEOS_PER_PART, len(videos) - first))
        path = folder / f"{name}-{first:08d}.safetensors"
        if path.is_file():
            yield first + len(part)
            continue
        batches = []
        for progress, batch in encode_videos(vae, part, device, precision=precision):
            batches.append(batch)
            yield first + progress.done
        _save_tensors(path, {"latents": torch.cat(batches)})


def load_latent_datasets(folder: Path) -> LatentDatasets:
    """Load what `write_latent_datasets` wrote.

    Raises:
        UserError: the folder has no encoded videos.
    """
    caption_files = sorted(folder.glob("captions*.json"), key=lambda path: (len(path.name), path.name))
    required = [_latents_path(folder, 0), folder / TEXT_EMBEDDINGS_FILE, folder / TEXTS_FILE]
    missing = [path.name for path in required if not path.is_file()]
    if missing or not caption_files:
        raise UserError(
            f"{folder} lacks {', '.join([*missing, *([] if caption_files else ['captions.json'])])}; "
            "name a run that has encoded its videos, or resume that run first"
        )
    texts = json.loads((folder / TEXTS_FILE).read_text())
    stored = safetensors.torch.load_file(folder / TEXT_EMBEDDINGS_FILE)
    embeddings = stored["embeddings"].split(stored["lengths"].tolist())
    datasets: dict[str, list[LatentDataset]] = {"train": [], "held_out": []}
    for i, path in enumerate(caption_files):
        latents = safetensors.torch.load_file(_latents_path(folder, i))
        values = json.loads(path.read_text())
        for name, group in datasets.items():
            group.append(
                LatentDataset(
                    latents=latents[name],
                    captions=tuple(tuple(rows) for rows in values[name]),
                    text_embeddings=embeddings,
                    starts_midclip=values["starts_midclip"],
                    weight=values.get("weight"),
                )
            )
    return LatentDatasets(
        train=tuple(datasets["train"]), held_out=tuple(datasets["held_out"]), texts=tuple(texts)
    )


def _caption_rows(videos: VideoDataset, row_by_caption: Mapping[str, int]) -> list[list[int]]:
    return [[row_by_caption[text] for text in videos.captions(index)] for index in range(len(videos))]


def _latents_path(folder: Path, dataset_index: int) -> Path:
    return folder / (f"latents-{dataset_index}.safetensors" if dataset_index else "latents.safetensors")


def _captions_path(folder: Path, dataset_index: int) -> Path:
    return folder / (f"captions-{dataset_index}.json" if dataset_index else "captions.json")


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    with atomic_write(path) as temporary:
        safetensors.torch.save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()}, temporary
        )
