"""Encoded videos and captions: precision, batches of text embeddings, and the files that training reads."""

import itertools

import pytest
import torch

from kinema.data import latent_cache
from kinema.data.dataset import DatasetSplit
from kinema.data.latent_cache import (
    TextEmbeddingTable,
    encode_captions,
    encode_videos,
    load_latent_datasets,
    write_latent_datasets,
)
from kinema.errors import UserError
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from tests.fixtures.toy_training import LetterTextEncoder
from tests.fixtures.training_data import TEXT_EMBEDDINGS, moving_squares

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return VideoVae(VaeConfig.tiny(patchified=True)).eval()


def test_bfloat16_latents_are_close_to_float32(vae):
    exact, rounded = (
        torch.cat([batch for _, batch in encode_videos(vae, moving_squares(), CPU, precision=precision)])
        for precision in ("float32", "bfloat16")
    )
    assert rounded.dtype is torch.float32
    assert not rounded.equal(exact)
    assert (rounded - exact).norm() < 0.02 * exact.norm()


def test_captions_are_encoded_once_each():
    progress = encode_captions(LetterTextEncoder(), [moving_squares()], CPU, batch_size=2)
    done = []
    while True:
        try:
            done.append(next(progress).done)
        except StopIteration as end:
            texts, embeddings = end.value
            break
    assert done == [2, 4]
    assert texts[-1] == ""
    assert len(embeddings[-1]) == 1
    assert sorted(texts[:-1]) == ["a square", "moves left", "moves right"]
    for text, embedding in zip(texts, embeddings, strict=True):
        assert embedding.float().equal(LetterTextEncoder().encode([text]).hidden_states[0])


def test_text_batches_are_padded_to_a_multiple():
    table = TextEmbeddingTable(TEXT_EMBEDDINGS, CPU)
    tight, padded = table.batch([0, 1, 2]), table.batch([0, 1, 2], pad_to_multiple=16)
    assert padded.hidden_states.shape[1] == 16
    assert padded.lengths.equal(tight.lengths)
    assert padded.hidden_states[:, :3].equal(tight.hidden_states)
    assert not padded.hidden_states[:, 3:].any()


def test_datasets_are_written_once_and_loaded(vae, tmp_path):
    videos = moving_squares()
    splits = [
        DatasetSplit(train=videos, held_out=moving_squares(count=2)),
        DatasetSplit(train=moving_squares(count=4), held_out=moving_squares(count=2), starts_midclip=True),
    ]

    def write():
        return list(write_latent_datasets(tmp_path, vae, splits, LetterTextEncoder, CPU, precision="float32"))

    assert [(one.stage, one.done, one.total) for one in write()] == [
        ("latents", 6, 6), ("latents", 4, 4), ("texts", 4, 4),
    ]  # fmt: skip
    assert write() == []
    data = load_latent_datasets(tmp_path)
    assert [len(dataset) for dataset in data.train] == [6, 4]
    assert [dataset.starts_midclip for dataset in data.held_out] == [False, True]
    assert [data.texts[row] for row in data.train[0].captions[1]] == ["moves right", "a square"]
    assert data.texts == ("a square", "moves left", "moves right", "")
    assert data.prompts(0, 5) == [("moves left", 1), ("moves right", 2)]
    encoded = torch.cat([batch for _, batch in encode_videos(vae, videos, CPU, precision="float32")])
    assert data.train[0].latents.equal(encoded)
    assert data.train[0].subset(1, 3).latents.equal(encoded[1:3])


def test_folder_without_latents_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"lacks latents.safetensors.*captions.json"):
        load_latent_datasets(tmp_path)


def test_an_interrupted_encoding_continues_with_the_same_bytes(vae, tmp_path, monkeypatch):
    monkeypatch.setattr(latent_cache, "VIDEOS_PER_PART", 2)
    splits = [DatasetSplit(train=moving_squares(), held_out=moving_squares(count=2))]

    def encode(folder, limit=None):
        folder.mkdir(exist_ok=True)
        progress = write_latent_datasets(folder, vae, splits, LetterTextEncoder, CPU)
        done = [one.done for one in itertools.islice(progress, limit)]
        progress.close()
        return done

    encode(tmp_path / "whole")
    encode(tmp_path / "stopped", limit=3)
    parts = sorted((tmp_path / "stopped" / "latents.parts").iterdir())
    assert parts
    assert encode(tmp_path / "stopped")[0] == 2, "the first part is not encoded again"
    whole, stopped = ((tmp_path / name / "latents.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert whole == stopped
    assert not (tmp_path / "stopped" / "latents.parts").exists()
