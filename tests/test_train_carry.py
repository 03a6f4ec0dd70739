"""What travels to a machine without a network: a text encoder cut down but true, and a folder that starts."""

import subprocess

import pytest
import torch

from kinema.errors import UserError
from kinema.models.text_encoders.minilm import MiniLm
from kinema.train import carry

TEXTS = ("a red ball rolls to the left and hits a blue cube", "the camera circles a striped cone", "")


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    pieces = carry.cut_text_encoder(folder, TEXTS, common=1500)
    return folder, pieces


def test_the_cut_encoder_says_what_the_whole_one_says(cut):
    folder, pieces = cut
    assert 1500 <= pieces < 5000
    assert (folder / "model.safetensors").stat().st_size < 26 * 2**20
    whole, small = MiniLm.load().encode(TEXTS), MiniLm.load(folder).encode(TEXTS)
    assert whole.lengths.equal(small.lengths)
    spread = whole.hidden_states.std()
    assert (whole.hidden_states - small.hidden_states).abs().max() < 0.02 * spread


def test_words_that_were_cut_are_spelled(cut):
    states = MiniLm.load(cut[0])
    pieces = states.tokenizer.encode("zymurgy").tokens
    assert "[UNK]" not in pieces
    assert "".join(piece.removeprefix("##") for piece in pieces[1:-1]) == "zymurgy"
    assert torch.isfinite(states.encode(["zymurgy"]).hidden_states).all()


def test_a_folder_is_made_whose_script_is_sound(tmp_path, monkeypatch):
    monkeypatch.setattr(carry, "words_of_the_set", lambda clips: list(TEXTS))
    made = carry.carry(tmp_path / "box", clips=1, wheels=())
    assert made.bytes == sum(made.parts.values())
    assert made.parts["wheels"] == 0
    assert made.bytes < 64 * 2**20
    assert (tmp_path / "box" / "src" / "kinema" / "cli" / "__init__.py").is_file()
    assert not list((tmp_path / "box").rglob("__pycache__"))
    script = tmp_path / "box" / "start.sh"
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def test_a_wheel_of_nothing_installed_is_refused(tmp_path):
    with pytest.raises(UserError, match="not installed here"):
        carry._version("no-such-package-here")
