"""LoRAs of every Wan variant with tiny random weights: conditions, experts, files that fit."""

import dataclasses

import pytest
import torch

from kinema.models.formats.loader import open_model
from kinema.models.lora.match import match_lora
from kinema.models.lora.reader import open_lora
from kinema.training.export_finetuned import export_finetuned
from kinema.training.finetune_samples import FinetuneSampleConfig
from kinema.training.lora_layers import LoraConfig
from kinema.training.recipes.datasets import SetConfig
from kinema.training.recipes.finetune import default_config, expert_config, run_finetune
from kinema.training.run_context import RunContext
from tests.fixtures import wan_fixtures
from tests.fixtures.curated_set import write_curated_set

CPU = torch.device("cpu")


def no_text_encoder():
    raise AssertionError("Wan has a text encoder of its own")


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["t2v-2.1", "i2v-2.1", "i2v-a14b-2.2", "ti2v-5b-2.2"])
def test_lora_of_every_variant(variant, tmp_path):
    wan_fixtures.pipeline(variant).save_pretrained(tmp_path / "model")
    model = open_model(str(tmp_path / "model"))
    data = write_curated_set(tmp_path / "set", count=4, words="red")
    config = default_config(model, [SetConfig(folder=str(data))], lora=LoraConfig(rank=2))
    loop = dataclasses.replace(config.training.loop, steps=2, validate_every=2, save_every=2)
    config = dataclasses.replace(
        config,
        held_out_share=0.3,
        swapped_blocks=1,
        base_dtype="int8",
        training=dataclasses.replace(config.training, loop=loop),
        samples=FinetuneSampleConfig(num_samples=1, num_inference_steps=3),
    )
    context = RunContext(run_dir=tmp_path / "run", device=CPU, load_text_encoder=no_text_encoder)
    reports = [progress.report for progress in run_finetune(config, context) if progress.report]
    experts = model.sampling_defaults.num_experts
    assert [report.step for report in reports] == [0, 1, 2] * experts
    assert all(report.loss > 0 for report in reports)
    paths = export_finetuned(config, context)
    names = ["lora_high_noise", "lora_low_noise"] if experts == 2 else ["lora"]
    assert [path.stem for path in paths] == names
    for path in paths:
        matched = match_lora(open_lora(path), model.dit, num_experts=experts, model_name=variant)
        assert not matched.note
    if experts == 2:
        high, low = (expert_config(config, model, expert).sigma_sampling for expert in (0, 1))
        assert high.min_sigma == low.max_sigma == 0.9
        assert open_lora(paths[0]).expert == 0
        assert open_lora(paths[1]).expert == 1
