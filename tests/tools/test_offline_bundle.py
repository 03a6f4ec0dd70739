"""The offline bundle: a pruned text encoder with the same embeddings, and a folder with a start script."""

import subprocess

import pytest
import torch

from kinema.errors import UserError
from kinema.models.text_encoders.minilm import MiniLm
from tools import offline_bundle

TEXTS = ("a red ball rolls to the left and hits a blue cube", "the camera circles a striped cone", "")


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    num_pieces = offline_bundle.prune_text_encoder(folder, TEXTS, num_common=1500)
    return folder, num_pieces


def test_pruned_encoder_matches_the_full_one(pruned):
    folder, num_pieces = pruned
    assert 1500 <= num_pieces < 5000
    assert (folder / "model.safetensors").stat().st_size < 26 * 2**20
    full, small = MiniLm.load().encode(TEXTS), MiniLm.load(folder).encode(TEXTS)
    assert full.lengths.equal(small.lengths)
    std = full.hidden_states.std()
    assert (full.hidden_states - small.hidden_states).abs().max() < 0.02 * std


def test_pruned_words_fall_back_to_letters(pruned):
    encoder = MiniLm.load(pruned[0])
    pieces = encoder.tokenizer.encode("zymurgy").tokens
    assert "[UNK]" not in pieces
    assert "".join(piece.removeprefix("##") for piece in pieces[1:-1]) == "zymurgy"
    assert torch.isfinite(encoder.encode(["zymurgy"]).hidden_states).all()


def test_bundle_contains_a_valid_script(tmp_path, monkeypatch):
    monkeypatch.setattr(offline_bundle, "sample_captions", lambda num_clips: list(TEXTS))
    bundle = offline_bundle.build_bundle(tmp_path / "bundle", num_clips=1, wheels=())
    assert bundle.total_bytes == sum(bundle.bytes_per_part.values())
    assert bundle.bytes_per_part["wheels"] == 0
    assert bundle.total_bytes < 100 * 10**6
    assert (tmp_path / "bundle" / "src" / "kinema" / "cli" / "__init__.py").is_file()
    assert not list((tmp_path / "bundle").rglob("__pycache__"))
    script = tmp_path / "bundle" / "start.sh"
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def test_wheel_of_a_missing_package_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="not installed here"):
        offline_bundle._installed_version("no-such-package-here")


def test_command_prints_sizes_and_reports_errors(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(offline_bundle, "sample_captions", lambda num_clips: list(TEXTS))
    offline_bundle.main(["--out", str(tmp_path / "bundle"), "--no-wheels"])
    assert "bash bundle/start.sh RUN" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        offline_bundle.main(["--out", str(tmp_path / "bundle"), "--wheels", "no-such-package-here"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
