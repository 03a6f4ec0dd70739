"""Our MiniLM against transformers' BERT on the same weights."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertModel

from kinema.errors import UserError
from kinema.models.text_encoders import minilm
from kinema.models.text_encoders.minilm import MiniLm

PROMPTS = [
    "",
    "a red ball rolls to the left and hits an orange cube",
    "Crème brûlée — 猫, naïve façade!  \n two   spaces",
    "word " * 400,
]


@pytest.fixture(scope="module")
def ours() -> MiniLm:
    return MiniLm.load()


def test_states_equal_transformers(ours: MiniLm) -> None:
    found = find_spec(minilm.PACKAGE)
    assert found is not None
    assert found.submodule_search_locations
    folder = Path(found.submodule_search_locations[0]) / "model"
    theirs = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = ours.encode(PROMPTS)
    assert batch.lengths.tolist()[0] == 2
    assert batch.lengths.tolist()[-1] == minilm.MAX_TOKENS
    for index, prompt in enumerate(PROMPTS):
        tokens = tokenizer(prompt, return_tensors="pt", truncation=True, max_length=minilm.MAX_TOKENS)
        with torch.no_grad():
            expected = theirs(**tokens).last_hidden_state[0]
        length = int(batch.lengths[index])
        assert length == len(expected)
        assert (batch.hidden_states[index, :length] - expected).abs().max() <= 1e-5
        assert batch.hidden_states[index, length:].eq(0).all()


def test_batching_does_not_change_the_states(ours: MiniLm) -> None:
    together, alone = ours.encode(PROMPTS), ours.encode(PROMPTS[1:2])
    assert torch.allclose(
        together.hidden_states[1, : alone.hidden_states.shape[1]], alone.hidden_states[0], atol=1e-5
    )


def test_the_weights_package_is_not_imported(ours: MiniLm) -> None:
    assert minilm.PACKAGE not in sys.modules
    assert "sentence_transformers" not in sys.modules


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lacks model\.safetensors"):
        MiniLm.load(tmp_path)
