"""Sample videos of a fine-tuning run: the same prompts and noise at every validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from kinema import sampling
from kinema.data import rng
from kinema.distributed.process_group import SINGLE_PROCESS, DistContext
from kinema.errors import UserError
from kinema.frames import FrameArray, to_frames
from kinema.media import write_video
from kinema.models.formats.loader import ModelCheckpoint
from kinema.models.precision import Precision, autocast
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer.dit import Dit
from kinema.pipeline.conditioning import EncodedEdit
from kinema.pipeline.lazy_module import empty_cache
from kinema.pipeline.sampler import SamplerConfig, sample
from kinema.training.finetune_task import CONDITION, IMAGE_EMBEDDINGS
from kinema.training.loop import ValidationCallback
from kinema.training.validation_samples import sheet_path, write_contact_sheet


@dataclass(frozen=True, kw_only=True)
class FinetuneSampleConfig:
    """Settings of the sample videos.

    Attributes:
        prompts: to sample; empty: captions of held-out clips.
        num_samples: videos at each validation, where no prompts are set; 0 turns them off.
        num_inference_steps: of the sampler.
        guidance_scale: 1 is off; None: that of the model.
        seed: of the noise.
    """

    prompts: tuple[str, ...] = ()
    num_samples: int = 4
    num_inference_steps: int = 20
    guidance_scale: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_samples < 0 or self.num_inference_steps < 1:
            raise UserError(
                f"{self.num_samples} samples of {self.num_inference_steps} steps can't be made; "
                "give 0 or more samples and 1 or more steps"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class SamplePrompt:
    """A video to sample.

    Attributes:
        prompt: its text.
        text: states of the prompt.
        negative: states of the negative prompt.
        tensors: of the encoded clip that gives the shape of the latents and, to image-to-video models, the
            first frame.
    """

    prompt: str
    text: Float[Tensor, "l d"]
    negative: Float[Tensor, "l2 d"]
    tensors: Mapping[str, Tensor]


def finetune_sample_callback(
    dit: Dit,
    model: ModelCheckpoint,
    prompts: Sequence[SamplePrompt],
    config: FinetuneSampleConfig,
    folder: Path,
    *,
    device: torch.device,
    expert: int = 0,
    precision: Precision = "auto",
    dist_context: DistContext = SINGLE_PROCESS,
) -> ValidationCallback:
    """Return the validation callback: a folder of MP4 files and a contact sheet for each step.

    The autoencoder is loaded for the samples and dropped afterwards.

    Args:
        dit: the transformer in training.
        model: its sampling defaults and its autoencoder are used.
        prompts: what to sample.
        config: settings.
        folder: of the samples, `step-00000100/0.mp4` and `step-00000100.png`.
        device: of the transformer.
        expert: of two experts the one in training. That for high noise predicts the video at its last noise
            level, which is blurred; that for low noise starts from a held-out clip with noise.
        precision: of the transformer.
        dist_context: all processes sample together; the main one writes.
    """

    def validation_callback(step: int) -> Mapping[str, float]:
        latents = [
            _sample_latents(dit, model, one, config, index, device, expert, precision)
            for index, one in enumerate(prompts)
        ]
        if dist_context.is_main:
            target = folder / f"step-{step:08d}"
            target.mkdir(parents=True, exist_ok=True)
            videos = []
            for index, frames in enumerate(_decode(model, latents, device)):
                write_video(
                    target / f"{index}.mp4",
                    frames,
                    model.sampling_defaults.fps,
                    comment=prompts[index].prompt,
                )
                videos.append((prompts[index].prompt, frames))
            write_contact_sheet(sheet_path(folder, step), videos)
        return {}

    return validation_callback


def _decode(
    model: ModelCheckpoint, latents: Sequence[Float[Tensor, "1 c f h w"]], device: torch.device
) -> Iterator[FrameArray]:
    vae = model.load_vae(device=device)
    for one in latents:
        yield to_frames(vae.decode(one))
    del vae
    empty_cache()


@torch.no_grad()
def _sample_latents(
    dit: Dit,
    model: ModelCheckpoint,
    prompt: SamplePrompt,
    config: FinetuneSampleConfig,
    index: int,
    device: torch.device,
    expert: int,
    precision: Precision,
) -> Float[Tensor, "1 c f h w"]:
    defaults = model.sampling_defaults
    boundary = defaults.boundary_ratio
    scale = defaults.guidance_scale[expert] if config.guidance_scale is None else config.guidance_scale
    clip = prompt.tensors["latents"][None].float().to(device)
    noise = rng.normal(tuple(clip.shape), config.seed, "sample", index).to(device)
    edit = None
    if boundary is not None and expert == 1:
        edit = EncodedEdit(latents=clip, sigma=boundary)
    result = noise
    with autocast(precision, device):
        for step in sample(
            _denoiser(dit, prompt, scale, device),
            noise,
            SamplerConfig.from_defaults(
                defaults, num_inference_steps=config.num_inference_steps, flow_shift=defaults.flow_shift
            ),
            seeds=[(config.seed, index)],
            edit=edit,
        ):
            result = step.latents
            if boundary is not None and expert == 0 and step.sigma < boundary:
                result = step.clean
                break
    return result.float()


def _denoiser(dit: Dit, prompt: SamplePrompt, scale: float, device: torch.device) -> sampling.Denoiser:
    states = [prompt.text] if scale == 1 else [prompt.text, prompt.negative]
    image = prompt.tensors.get(IMAGE_EMBEDDINGS)
    if image is not None:
        image = image[None].expand(len(states), -1, -1).float()
    context = dit.context(TextEmbeddings.from_list([one.float() for one in states]).to(device), image)
    condition = prompt.tensors.get(CONDITION)

    def network(latents: Tensor, sigma: Tensor, *, with_unconditional: bool) -> Tensor:
        del with_unconditional  # The context has the negative prompt already.
        if condition is not None:
            latents = torch.cat([latents, condition[None].to(latents)], dim=1)
        return dit(latents.to(dit.dtype), sigma, context).float()

    return sampling.apply_cfg(network, sampling.CfgConfig(scale=scale))
