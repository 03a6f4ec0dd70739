"""Prompts in everyday English are rewritten where that is right, and left alone where it is not."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from kinema.models.formats.loader import open_model
from kinema.models.slot_classifier import Slot, SlotClassifier, SlotClassifierConfig
from kinema.models.text_encoders.minilm import MiniLm
from kinema.pipeline import prompt_rewriter, prompt_rewriting
from kinema.pipeline.lazy_module import LazyModule
from kinema.pipeline.loras import LoraTransformers
from kinema.pipeline.pipeline import load
from kinema.pipeline.prompt_rewriter import PromptRewriter
from kinema.pipeline.reproduce import read_metadata, restore_pipeline
from kinema.pipeline.request import EditInput, ExtendInput, Lora, Shot, VideoRequest
from kinema.simulator.captions.everyday.meaning import Meaning, ObjectMeaning
from kinema.simulator.captions.everyday.slots import SLOTS, meaning_to_slots
from tests.fixtures.tiny_model import save_tiny_model

RED = ObjectMeaning(shape="ball", colour="red")
MEANINGS = {
    "a scarlet orb trundles to the left": Meaning(objects=(RED,), event="move", direction="left", actor=0),
    "some orb trundles off": Meaning(objects=(ObjectMeaning(shape="ball"),), event="move", actor=0),
    "a swing": None,
}
CLEAR, OPEN, OTHER = MEANINGS
WRITTEN = "a red ball rolls to the left"


class KnownMeanings(PromptRewriter):
    """Reads the prompts of `MEANINGS`."""

    def __init__(self) -> None:
        unused = LazyModule(lambda: None, keep_loaded=True)
        super().__init__(unused, unused)

    def _classify(self, prompt):
        return MEANINGS.get(prompt)


@pytest.fixture
def pipe(tmp_path):
    pipe = load(save_tiny_model(tmp_path / "tiny"), device="cpu")
    pipe.components = dataclasses.replace(pipe.components, prompt_rewriter=KnownMeanings())
    pipe._lora_transformers = LoraTransformers(pipe.components)
    return pipe


def encoded_prompts(pipe, **request) -> list[str]:
    """The prompts of all segments."""
    resolved = pipe.resolve(VideoRequest(**request))
    return [prompt.prompt for segment in resolved.segments for prompt in segment.conditioning.prompts]


def test_a_clear_prompt_is_written_in_the_models_wording(pipe):
    assert encoded_prompts(pipe, prompt=CLEAR) == [WRITTEN]


@pytest.mark.parametrize("prompt", ["", OTHER, "a red ball rolls to the right and stops", "A dog barks."])
def test_prompts_that_stay_as_they_are(pipe, prompt):
    resolved = pipe.resolve(VideoRequest(prompt=prompt))
    assert resolved.conditioning.prompts[0].prompt == prompt
    assert resolved.rewritten_prompts == {}


def test_the_seed_chooses_what_is_open(pipe):
    captions = {encoded_prompts(pipe, prompt=OPEN, seed=seed)[0] for seed in range(30)}
    assert len(captions) > 8
    assert encoded_prompts(pipe, prompt=OPEN, seed=4) == encoded_prompts(pipe, prompt=OPEN, seed=4)


def test_the_prompt_is_kept_where_the_request_says_so_or_has_a_lora(pipe, tmp_path):
    assert encoded_prompts(pipe, prompt=CLEAR, rewrite_prompt=False) == [CLEAR]
    resolved = pipe.resolve(VideoRequest(prompt=CLEAR, rewrite_prompt=False))
    with_lora = dataclasses.replace(resolved, request=VideoRequest(prompt=CLEAR, loras=(Lora(file="x"),)))
    assert prompt_rewriting.rewrite_prompts(KnownMeanings(), with_lora) is with_lora


def test_known_frames_decide_what_is_open(pipe, tmp_path):
    image = np.full((48, 48, 3), 99, np.uint8)
    source = tmp_path / "source.gif"
    pipe.generate(WRITTEN).save(source)
    for inputs in (
        {"image": image},
        {"source": ExtendInput(video=source)},
        {"source": EditInput(video=source)},
    ):
        assert encoded_prompts(pipe, prompt=OPEN, **inputs)[0] == OPEN
        assert encoded_prompts(pipe, prompt=CLEAR, **inputs)[0] == WRITTEN


def test_shots_of_a_storyboard(pipe):
    shots = (
        Shot(prompt=OPEN),
        Shot(prompt=CLEAR, seconds=0.5, transition="blend"),
        Shot(prompt=OPEN, seconds=1.0),
    )
    first, second, third = encoded_prompts(pipe, storyboard=shots)
    assert first == third == encoded_prompts(pipe, prompt=OPEN)[0]
    assert second == WRITTEN
    blended = (Shot(prompt=CLEAR), Shot(prompt=OPEN, seconds=0.5, transition="blend"))
    assert encoded_prompts(pipe, storyboard=blended) == [WRITTEN, OPEN]


def test_live_prompts(pipe):
    sampler = pipe.live(VideoRequest(prompt=CLEAR))
    received = []
    sampler._rewriter.rewrite = lambda prompt, **options: received.append((prompt, options)) or prompt
    sampler.encode_prompt(OPEN)
    sampler.encode_prompt(OPEN, is_first=False)
    assert received == [(OPEN, {"seed": 0, "chooses": True}), (OPEN, {"seed": 0, "chooses": False})]
    assert pipe.live(VideoRequest(prompt=CLEAR, rewrite_prompt=False))._rewriter is None


def test_the_video_is_that_of_the_written_prompt_and_its_file_says_so(pipe, tmp_path):
    video, written = pipe.generate(CLEAR), pipe.generate(WRITTEN)
    assert np.array_equal(video.frames, written.frames)
    assert not np.array_equal(video.frames, pipe.generate(CLEAR, rewrite_prompt=False).frames)
    video.save(tmp_path / "video.mp4")
    metadata = read_metadata(tmp_path / "video.mp4")
    assert metadata.request.prompt == CLEAR
    assert metadata.rewritten_prompts == ((CLEAR, WRITTEN),)
    note = f"the prompt {CLEAR!r} is read as {WRITTEN!r}"
    assert pipe.warnings(pipe.resolve(VideoRequest(prompt=CLEAR)))[0] == note


def test_a_video_of_an_earlier_version_is_reproduced_from_its_own_prompt(pipe, tmp_path, monkeypatch):
    """Its metadata has no rewritten prompts, so the prompt was used as it is."""
    from kinema.errors import UserError
    from kinema.pipeline import reproduce

    path = tmp_path / "video.mp4"
    pipe.generate(CLEAR, rewrite_prompt=False).save(path)
    values = json.loads(read_metadata(path).to_json())
    values["request"].pop("rewrite_prompt")
    values.pop("rewritten_prompts")
    earlier = reproduce.parse_metadata(json.dumps(values), what="a test")
    monkeypatch.setattr(reproduce, "load", lambda *_, **__: pipe)
    _, resolved = restore_pipeline(earlier, tmp_path, model="tiny")
    assert resolved.rewritten_prompts == {}
    other = dataclasses.replace(earlier, rewritten_prompts=((CLEAR, "a blue cube is on the ground"),))
    with pytest.raises(UserError, match="rewrites the prompt of this video differently"):
        restore_pipeline(other, tmp_path, model="tiny")


class FixedSlots(SlotClassifier):
    """Predicts the slots of a meaning with a probability for each."""

    def __init__(self, meaning: Meaning, logit: float) -> None:
        slots = tuple(Slot(name=name, values=values) for name, values in SLOTS.items())
        super().__init__(SlotClassifierConfig(slots=slots, width=16, heads=2))
        self.indices, self.logit = meaning_to_slots(meaning), logit

    def forward(self, states, lengths):
        logits = {name: torch.zeros(1, len(values)) for name, values in SLOTS.items()}
        for name, index in self.indices.items():
            logits[name][0, index or 0] = self.logit
        return logits


@pytest.mark.parametrize(("logit", "written"), [(20.0, WRITTEN), (2.0, CLEAR)])
def test_an_unclear_prompt_stays(logit, written):
    meaning = MEANINGS[CLEAR]
    rewriter = PromptRewriter(
        LazyModule(MiniLm.load, keep_loaded=True),
        LazyModule(lambda: FixedSlots(meaning, logit), keep_loaded=True),
    )
    assert rewriter.rewrite(CLEAR, seed=0) == written


def test_a_saved_model_keeps_its_rewriter(tmp_path):
    folder = save_tiny_model(tmp_path / "tiny")
    shutil.copytree(open_model("world").folder / "prompt_rewriter", folder / "prompt_rewriter")
    load(folder, device="cpu").save(tmp_path / "copy")
    written = [
        load(path, device="cpu").components.prompt_rewriter.rewrite("a scarlet orb bumps a blue box", seed=1)
        for path in (folder, tmp_path / "copy")
    ]
    assert written[0] == written[1] != "a scarlet orb bumps a blue box"


def test_unknown_words_are_read_as_known_ones_of_the_same_sense():
    received = []
    rewriter = KnownMeanings()
    rewriter._vocabulary = frozenset(
        ("a", "red", "ball", "rolls", "to", "the", "left", "cube", "and", "cubes")
    )
    rewriter._read = lambda prompt: received.append(prompt)
    assert rewriter.rewrite("a red marble rolls to the left", seed=0) == WRITTEN
    rewriter.rewrite("Marbles and a crate, wobbly", seed=0)
    assert received == ["ball and a cube, wobbly"]


def test_remembered_prompts_are_limited(monkeypatch):
    monkeypatch.setattr(prompt_rewriter, "_MAX_REMEMBERED", 3)
    rewriter = KnownMeanings()
    for number in range(10):
        rewriter.rewrite(f"prompt {number}", seed=0)
    assert len(rewriter._meanings) <= 3
