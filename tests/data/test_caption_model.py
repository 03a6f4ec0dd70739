"""`--caption-model`: a vision-language model that runs here, with tiny random weights."""

import numpy as np
import pytest
from PIL import Image

from kinema.cli import main
from kinema.data import model_captions
from kinema.data.clip_table import read_clips
from kinema.data.model_captions import TransformersCaptioner
from kinema.errors import UserError
from kinema.media import write_video
from tests.fixtures.shots import FPS, shot

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def vlm(tmp_path_factory):
    from tests.fixtures.tiny_vlm import save_tiny_vlm

    return save_tiny_vlm(tmp_path_factory.mktemp("vlm"))


def test_the_answer_depends_on_the_frames(vlm):
    captioner = TransformersCaptioner(str(vlm), max_new_tokens=12)
    random = np.random.default_rng(0)
    images = [Image.fromarray(random.integers(0, 256, (48, 64, 3), np.uint8)) for _ in range(4)]
    answer = captioner.describe(images[:2])
    assert 6 <= len(answer.replace(" ", "")) <= 12
    assert captioner.describe(images[:2]) == answer
    assert captioner.describe(images) != answer


def test_clips_without_captions_are_described(vlm, tmp_path, monkeypatch, capsys):
    (tmp_path / "in").mkdir()
    for index in range(2):
        write_video(tmp_path / "in" / f"{index}.mp4", shot(80 + index, 24), FPS)
    (tmp_path / "in" / "1.txt").write_text("a caption of its own")
    out = tmp_path / "set"

    def load(name, device):
        return TransformersCaptioner(name, device=device, max_new_tokens=8)

    monkeypatch.setattr(model_captions, "TransformersCaptioner", load)
    options = ["--frames", "9", "--fps", "12", "--mode", "head", "--resolution", "96x64", "--workers", "1"]
    main(["data", "build", str(tmp_path / "in"), "--out", str(out), *options, "--caption-model", str(vlm)])
    described, own = sorted(read_clips(out), key=lambda row: row.source)
    assert (described.caption_source, own.caption_source) == (f"model:{vlm}", "sidecar")
    assert described.captions
    before = (out / "clips.parquet").read_bytes(), (out / "captions.jsonl").read_bytes()
    main(["data", "filter", str(out), "--caption-model", str(vlm)])
    assert ((out / "clips.parquet").read_bytes(), (out / "captions.jsonl").read_bytes()) == before
    capsys.readouterr()


def test_a_folder_without_a_model_is_one_line(tmp_path):
    with pytest.raises(UserError, match="can't be loaded as a vision-language model") as error:
        TransformersCaptioner(str(tmp_path))
    assert "\n" not in str(error.value)
