"""Training of the prompt rewriter's classifier."""

import dataclasses
import json
import random

import pytest
import torch

from kinema.cli import main
from kinema.models.formats.fingerprint import fingerprint
from kinema.models.formats.loader import open_model
from kinema.models.slot_classifier import Slot, SlotClassifier, SlotClassifierConfig, convert_slots
from kinema.models.text_encoders.minilm import MiniLm
from kinema.pipeline.prompt_vocabulary import model_vocabulary
from kinema.simulator.attributes import LAB_COLOURS
from kinema.simulator.captions.everyday.slots import SLOTS
from kinema.simulator.clip import ClipSpec, make_clip
from kinema.training.recipes import prompt_rewriter
from kinema.training.slot_task import ALL_RIGHT, NEW_WORDS_ALL_RIGHT, SlotTask, exchange_colours
from tests.fixtures.tiny_model import save_tiny_model

CONFIG = prompt_rewriter.tiny().training


@pytest.fixture(scope="module")
def clips():
    return [
        make_clip(
            ClipSpec(seed=seed, lab=True, event=event, num_frames=17, fps=8.0), render=False
        ).annotations
        for seed in (1, 2)
        for event in ("roll", "still", "collide")
    ]


@pytest.fixture(scope="module")
def task(clips):
    return SlotTask(CONFIG, clips, clips[:1], clips[:2], MiniLm.load(), torch.device("cpu"))


def test_the_loss_falls_on_a_batch(task):
    before = {name: value.clone() for name, value in task.state_dict().items()}
    optimizer = torch.optim.Adam(task.module.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = task.loss(0, 0, 1).value
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    task.module.load_state_dict(before)
    assert losses[-1] < 0.3 * losses[0]


def test_every_step_has_its_own_captions_and_repeats_them(task):
    assert task.loss(3, 0, 1).value.item() == task.loss(3, 0, 1).value.item()
    assert task.loss(3, 0, 1).value.item() != task.loss(4, 0, 1).value.item()


def test_held_out_words_are_measured_where_they_are_held_out(task, clips):
    config = dataclasses.replace(CONFIG, words="train")
    other = SlotTask(config, clips, clips[:1], clips[:2], task.encoder, torch.device("cpu"))
    scores = other.validate()
    assert 0 <= scores[NEW_WORDS_ALL_RIGHT] <= 1
    assert task.validate().keys() == scores.keys() - {NEW_WORDS_ALL_RIGHT}


def test_training_starts_from_given_weights(task, clips):
    weights = {name: value.clone() + 0.01 for name, value in task.state_dict().items()}
    other = SlotTask(CONFIG, clips, clips, clips[:2], task.encoder, torch.device("cpu"), weights)
    assert all(torch.equal(value, weights[name]) for name, value in other.state_dict().items())


def test_a_model_without_a_prompt_rewriter_is_refused(tmp_path, capsys):
    model = save_tiny_model(tmp_path / "model")
    with pytest.raises(SystemExit):
        main(
            [
                "train",
                "prompt-rewriter",
                "--preset",
                "tiny",
                "--from",
                str(model),
                "--out",
                str(tmp_path / "run"),
            ]
        )
    assert "has no prompt rewriter" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("*clips*"))


def test_logits_do_not_depend_on_the_other_captions(task):
    task.module.eval()
    texts = ["a ball", "a red ball rolls over to the left side and bumps into a blue box", "two cubes"]
    tokens, lengths = task.encoder.tokenize(texts)
    together = task._logits(tokens, lengths)
    for index, text in enumerate(texts):
        alone = task._logits(*task.encoder.tokenize([text]))
        for name in SLOTS:
            assert torch.allclose(alone[name][0], together[name][index], atol=1e-4)


def test_replaced_tokens_keep_the_ends(task):
    tokens, lengths = task.encoder.tokenize(["a red ball rolls to the left " * 6] * 40 + ["a cube"])
    replaced = task._replace_tokens(tokens, lengths, 0, 0)
    changed = replaced != tokens
    assert 0 < changed.float().mean() < 0.1
    assert not changed[:, 0].any()
    assert not changed[torch.arange(len(tokens)), lengths - 1].any()
    assert not changed[-1, int(lengths[-1]) :].any()


def test_exchanged_colours_are_those_of_the_caption(clips):
    seen = set()
    for number in range(60):
        source = random.Random(number)
        clip = exchange_colours(clips[number % len(clips)], source)
        before = [entity.colour for entity in clips[number % len(clips)].entities]
        after = [entity.colour for entity in clip.entities]
        pairs = [(a, b) for a, b in zip(before, after, strict=True) if a in LAB_COLOURS]
        assert len(dict(pairs)) == len(set(pairs)) == len({b for _, b in pairs})
        seen |= {b for _, b in pairs}
    assert seen == set(LAB_COLOURS)


def test_a_run_from_the_command_line_ends_in_a_folder_for_a_model(tmp_path, monkeypatch):
    monkeypatch.setattr(prompt_rewriter, "NUM_VOCABULARY_CAPTIONS", 200)
    run = tmp_path / "run"
    options = ["--preset", "tiny", "--device", "cpu", "--set", "training.loop.steps=4"]
    main(["train", "prompt-rewriter", "--out", str(run), *options])
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3, 4]
    assert f"ema/{ALL_RIGHT}" in log[-1]["scores"]
    model = save_tiny_model(tmp_path / "model")
    before = open_model(str(model))
    assert not before.has_prompt_rewriter
    before_fingerprint, words = fingerprint(model), model_vocabulary(before)
    (run / "weights" / "prompt_rewriter").rename(model / "prompt_rewriter")
    after = open_model(str(model))
    assert after.has_prompt_rewriter
    assert fingerprint(model) == before_fingerprint
    assert model_vocabulary(after) > words
    loaded = after.load_slot_classifier(device=torch.device("cpu"))
    assert isinstance(loaded, SlotClassifier)
    assert [slot.name for slot in loaded.config.slots] == list(SLOTS)


def test_weights_of_other_slots_start_where_the_old_ones_were():
    old = (
        Slot(name="event", values=("none", "roll", "other")),
        Slot(name="shape 1", values=("", "ball")),
        Slot(name="shape 2", values=("", "ball")),
    )
    new = (
        Slot(name="event", values=("roll", "fall", "other")),
        Slot(name="shape 1", values=("", "ball")),
        Slot(name="shape 2", values=("", "ball")),
        Slot(name="shape 3", values=("", "ball")),
    )
    size = SlotClassifierConfig(slots=old, width=32, heads=2)
    before = SlotClassifier(size)
    after = SlotClassifier(dataclasses.replace(size, slots=new))
    after.load_state_dict(convert_slots(before.state_dict(), old, new))
    same = convert_slots(before.state_dict(), old, old)
    assert all(torch.equal(same[name], tensor) for name, tensor in before.state_dict().items())
    weights = after.state_dict()
    heads = before.state_dict()["heads.0.weight"]
    assert torch.equal(weights["heads.0.weight"], heads[[1, 2, 2]])
    assert torch.equal(weights["heads.3.weight"], before.state_dict()["heads.2.weight"])
    assert torch.equal(weights["queries"][3], before.queries[2])
    with pytest.raises(ValueError, match="no slot like 'colour 1'"):
        convert_slots(before.state_dict(), old, (Slot(name="colour 1", values=("",)),))
