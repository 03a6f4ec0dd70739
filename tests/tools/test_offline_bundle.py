"""What travels to a machine without a network: a text encoder cut down but true, and a folder that starts."""

import subprocess

import pytest
import torch

from kinema.errors import UserError
from kinema.models.text_encoders.minilm import MiniLm
from tools import offline_bundle

TEXTS = ("a red ball rolls to the left and hits a blue cube", "the camera circles a striped cone", "")


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    pieces = offline_bundle.prune_text_encoder(folder, TEXTS, num_common=1500)
    return folder, pieces


def test_pruned_encoder_matches_the_full_one(cut):
    folder, pieces = cut
    assert 1500 <= pieces < 5000
    assert (folder / "model.safetensors").stat().st_size < 26 * 2**20
    whole, small = MiniLm.load().encode(TEXTS), MiniLm.load(folder).encode(TEXTS)
    assert whole.lengths.equal(small.lengths)
    spread = whole.hidden_states.std()
    assert (whole.hidden_states - small.hidden_states).abs().max() < 0.02 * spread


def test_pruned_words_fall_back_to_letters(cut):
    states = MiniLm.load(cut[0])
    pieces = states.tokenizer.encode("zymurgy").tokens
    assert "[UNK]" not in pieces
    assert "".join(piece.removeprefix("##") for piece in pieces[1:-1]) == "zymurgy"
    assert torch.isfinite(states.encode(["zymurgy"]).hidden_states).all()


def test_bundle_contains_a_valid_script(tmp_path, monkeypatch):
    monkeypatch.setattr(offline_bundle, "sample_captions", lambda clips: list(TEXTS))
    made = offline_bundle.build_bundle(tmp_path / "box", num_clips=1, wheels=())
    assert made.total_bytes == sum(made.bytes_per_part.values())
    assert made.bytes_per_part["wheels"] == 0
    assert made.total_bytes < 64 * 2**20
    assert (tmp_path / "box" / "src" / "kinema" / "cli" / "__init__.py").is_file()
    assert not list((tmp_path / "box").rglob("__pycache__"))
    script = tmp_path / "box" / "start.sh"
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def test_wheel_of_a_missing_package_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="not installed here"):
        offline_bundle._installed_version("no-such-package-here")
