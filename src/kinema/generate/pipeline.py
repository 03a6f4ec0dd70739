"""The one pipeline: text -> conditions -> flow.solve(dit) -> vae.decode -> film."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema import flow
from kinema.errors import UserError
from kinema.generate import condition as conditions
from kinema.generate.condition import Given
from kinema.generate.film import Film, to_uint8
from kinema.generate.machine import device_of
from kinema.generate.network import Experts, Spoken
from kinema.generate.part import Part
from kinema.generate.plan import CHUNK_PIXELS, Plan, check, plan
from kinema.generate.preview import Preview
from kinema.generate.progress import Saved, Stage, Step
from kinema.generate.request import Request, decide
from kinema.generate.residency import Choice, Dtype, Memory, choose, dtype_of, memory_of, weight_bytes
from kinema.generate.speed import measure
from kinema.generate.wish import Image, Wish
from kinema.models.dit import Dit
from kinema.models.source import ModelFolder, open_model
from kinema.models.text import TextEncoder
from kinema.models.vae import VideoVae
from kinema.models.wan import WanFolder
from kinema.shapes import LatentShape


class Pipeline:
    """A model that makes films.

    The parts are loaded when first needed. With `memory` low, each is dropped when its stage is over, and of
    two experts only one is in memory.
    """

    def __init__(self, model: ModelFolder, *, device: torch.device, choice: Choice) -> None:
        self.model, self.device, self.choice = model, device, choice
        dtype, keep = choice.dtype, choice.keep
        self._text: Part[TextEncoder] = Part(lambda: model.load_text(dtype=dtype, device=device), keep=keep)
        self._vae: Part[VideoVae] = Part(lambda: model.load_vae(device=device), keep=keep)
        self._dits = [Part(lambda i=i: self._transformer(i), keep=keep) for i in range(model.recipe.experts)]

    def _transformer(self, expert: int) -> Dit:
        dit = self.model.load_transformer(expert, dtype=self.choice.dtype, device=self.device)
        if self.choice.int8:
            from kinema.models.int8 import quantise

            quantise(dit)
        return dit

    @property
    def vae(self) -> VideoVae:
        """The autoencoder: `encode(b c f h w)` in [-1, 1] to normalised latents, and `decode` back."""
        return self._vae.get()

    def generate(
        self,
        prompt: str,
        *,
        negative: str | None = None,
        size: tuple[int, int] | None = None,
        frames: int | None = None,
        fps: float | None = None,
        steps: int | None = None,
        guidance: float | tuple[float, ...] | None = None,
        shift: float | None = None,
        seed: int = 0,
        noise: Float[Tensor, "1 c f h w"] | None = None,
        image: Image | None = None,
        last_image: Image | None = None,
    ) -> Film:
        """Make a film; all that may be asked for, and errors: `kinema.generate.wish.Wish`, `make`."""
        return self.make(
            Wish(
                prompt=prompt,
                negative=negative,
                size=size,
                frames=frames,
                fps=fps,
                steps=steps,
                guidance=guidance,
                shift=shift,
                seed=seed,
                noise=noise,
                image=image,
                last_image=last_image,
            )
        )

    def make(self, wish: Wish) -> Film:
        """Make a film of any kind.

        Raises:
            UserError: it can't be made; the message says what can.
        """
        for event in self.run(decide(self.model, wish)):
            if isinstance(event, Film):
                return event
        raise RuntimeError("a run ended without a film")

    def steps(self, wish: Wish) -> Iterator[Step]:
        """The solver's steps of `make`, one by one; the last step's latents are the finished film's."""
        for event in self.run(decide(self.model, wish)):
            if isinstance(event, Step):
                yield event
                if event.index == event.of - 1:
                    return

    def run(self, request: Request, *, start: Saved | None = None) -> Iterator[Stage | Step | Film]:
        """Make a film and say how far it is; the last event is the film. Stop reading to cancel.

        Args:
            request: what to make.
            start: go on after this step of an earlier run of the same request; the film is the same, bit for
                bit.

        Raises:
            UserError: `start` is not of this request.
        """
        spoken = self._spoken(request)
        yield Stage(name="text", done=1, of=1)
        noise = self._noise(request)
        given, channels = self._given(request)
        yield Stage(name="pictures", done=1, of=1)
        latents = noise
        if start is not None:
            self._check(start, request, noise)
            latents = start.latents[:1].to(self.device)
        for step in self._solve(request, spoken, noise, given, channels, start):
            latents = step.latents
            yield step
        del spoken, channels
        pictures: list[UInt8[np.ndarray, "f h w 3"]] = []
        for done, frames in self._decode(latents):
            pictures.append(frames)
            yield Stage(name="decode", done=done, of=latents.shape[2])
        yield Film(
            frames=np.concatenate(pictures),
            fps=request.fps,
            prompt=" / ".join(line.prompt for line in request.condition.lines),
            seed=None if request.noise is not None else request.seed,
            steps=request.steps,
            guidance=request.guidance,
            model=self.model.name,
        )

    def ready(self) -> None:
        """Load transformers and autoencoder now rather than with the first film, where they are kept."""
        if self.choice.keep:
            for part in (*self._dits, self._vae):
                part.get()

    def plan(self, request: Request) -> Plan:
        """What the film costs here, in time and memory; measures this machine for about a second."""
        return plan(
            self.model,
            request.film,
            device=self.device,
            choice=self.choice,
            steps=request.steps,
            guided=any(scale != 1 for scale in request.guidance),
            pictures=request.condition.given,
            speed=measure(self.model.dit, self.model.vae, device=self.device, dtype=self.choice.dtype),
            resident=self._resident(),
        )

    def afford(self, request: Request) -> Plan:
        """The same, refused if it has no room.

        Raises:
            UserError: the film needs more memory than there is; the message says what fits.
        """
        wanted = self.plan(request)
        check(
            self.model,
            wanted,
            device=self.device,
            choice=self.choice,
            guided=any(scale != 1 for scale in request.guidance),
            pictures=request.condition.given,
            fps=request.fps,
        )
        return wanted

    def _resident(self) -> int:
        """Bytes of weights in memory now."""
        weights = weight_bytes(self.model, self.choice.dtype, int8=self.choice.int8)
        names = ["text_encoder", "vae", "transformer", "transformer_2"]
        parts = [self._text, self._vae, *self._dits]
        return sum(weights[name] for name, part in zip(names, parts, strict=False) if part.resident)

    def save(self, folder: str | os.PathLike[str], *, shard_bytes: int | None = None) -> None:
        """Write the model in the layout it came in; diffusers loads a Wan folder that was saved here.

        Args:
            folder: new or empty.
            shard_bytes: the largest weights file.

        Raises:
            UserError: the folder is not empty, or the weights are int8, which are not written.
        """
        if self.choice.int8:
            raise UserError("int8 weights are for running, not for saving; load the model without int8")
        dits = [part.get() for part in self._dits]
        target = Path(folder)
        if isinstance(self.model, WanFolder):
            self.model.save(target, transformers=dits, vae=self.vae, shard_bytes=shard_bytes or 5 * 10**9)
        else:
            from kinema.models.folder import SHARD_BYTES, save_folder

            save_folder(
                target,
                recipe=self.model.recipe,
                transformer=dits[0],
                vae=self.vae,
                dtype=self.choice.dtype,
                shard_bytes=shard_bytes or SHARD_BYTES,
            )

    # ---- the five calls

    def _spoken(self, request: Request) -> Spoken:
        """The states of all prompts, and of the pictures where a CLIP belongs to the model."""
        texts = [line.prompt for line in request.condition.lines]
        with self._text.use() as encoder:
            states = encoder.encode([*texts, request.condition.negative])
        image = None
        model = self.model
        if isinstance(model, WanFolder) and model.sees_pictures:
            shown = [
                picture.image if picture.original is None else picture.original
                for picture in request.condition.pictures
            ]
            part = Part(lambda: model.load_image(dtype=self.choice.dtype, device=self.device), keep=False)
            with part.use() as clip:
                image = clip.encode(shown).flatten(0, 1)[None]
        return Spoken(
            states=states,
            image=image,
            speaks=request.condition.speaking(self._latent_shape(request), self.model.vae.stride),
        )

    def _given(self, request: Request) -> tuple[Given, Float[Tensor, "1 k f h w"] | None]:
        """Given latent frames, and the channels beside the noise of models that read pictures there."""
        shape, channels = self._latent_shape(request), self.model.vae.z_dim
        condition, stride = request.condition, self.model.vae.stride
        nothing = Given.nothing(channels, shape)
        if not condition.pictures and not condition.latents:
            return nothing, None
        with self._vae.use() as vae, torch.no_grad():

            def encode(frames: Tensor) -> Tensor:
                return vae.encode(frames.to(self.device)).cpu()

            if self.model.recipe.pictures == "channels":
                beside = conditions.channels_of(condition, request.film, shape, stride, encode)
                return nothing, beside.to(self.device)
            return conditions.hold(condition, shape, stride, channels, encode), None

    def _solve(
        self,
        request: Request,
        spoken: Spoken,
        noise: Float[Tensor, "1 c f h w"],
        given: Given,
        channels: Float[Tensor, "1 k f h w"] | None,
        start: Saved | None,
    ) -> Iterator[Step]:
        recipe = self.model.recipe
        velocity = Experts(
            self._dits,
            spoken,
            guidance=request.guidance,
            boundary=recipe.boundary,
            channels=channels,
            keep=self.choice.keep,
        )
        levels = flow.wan_schedule if recipe.schedule == "wan" else flow.linear_schedule
        schedule = levels(request.steps, request.shift)
        preview = Preview(self._vae)
        rows = () if start is None else start.latents.to(self.device).split(1)
        for step in flow.solve(
            velocity,
            rows[0] if rows else noise,
            schedule,
            solver=recipe.solver,
            held=given.held(noise),
            first=0 if start is None else start.index + 1,
            history=rows[1:],
        ):
            last = step.index == step.of - 1
            yield Step(
                index=step.index,
                of=step.of,
                time=step.time,
                latents=given.settled(step.latents) if last else step.latents,
                clean=given.settled(step.clean),
                _preview=preview,
                history=step.history,
            )

    def _decode(
        self, latents: Float[Tensor, "1 c f h w"]
    ) -> Iterator[tuple[int, UInt8[np.ndarray, "f h w 3"]]]:
        """Frames as they come, and how many latent frames are done."""
        stride = self.model.vae.stride
        pixels = latents.shape[3] * latents.shape[4] * stride.spatial**2 * stride.temporal
        size = max(1, CHUNK_PIXELS // pixels)
        cache = None
        with self._vae.use() as vae:
            for start in range(0, latents.shape[2], size):
                with torch.no_grad():
                    frames, cache = vae.decode_chunk(latents[:, :, start : start + size], cache)
                    images = to_uint8(frames)
                yield min(start + size, latents.shape[2]), images

    # ---- checks

    def _check(self, start: Saved, request: Request, noise: Float[Tensor, "1 c f h w"]) -> None:
        if start.latents.shape[1:] != noise.shape[1:] or not 0 <= start.index < request.steps:
            raise UserError(
                f"the saved state (step {start.index}, latents {tuple(start.latents.shape)}) is of "
                f"another film than this one of {request.steps} steps and {tuple(noise.shape)}; start it anew"
            )

    def _latent_shape(self, request: Request) -> LatentShape:
        return LatentShape.of(request.film, self.model.vae.stride)

    def _noise(self, request: Request) -> Float[Tensor, "1 c f h w"]:
        """Standard normal, from the CPU's generator; later stages can't change what a seed means."""
        shape = self._latent_shape(request)
        expected = (1, self.model.vae.z_dim, shape.frames, shape.height, shape.width)
        if request.noise is None:
            generator = torch.Generator("cpu").manual_seed(request.seed)
            return torch.randn(expected, generator=generator).to(self.device)
        noise = request.noise
        if noise.shape != expected or noise.dtype != torch.float32:
            raise UserError(
                f"the noise is {noise.dtype} of {tuple(noise.shape)} and must be float32 of {expected} here"
            )
        return noise.to(self.device)


def load(
    model: str | os.PathLike[str],
    device: str = "auto",
    dtype: Dtype | str = "auto",
    memory: Memory | str = "auto",
) -> Pipeline:
    """A pipeline of a model.

    Args:
        model: `world` (shipped), a folder, or `owner/name` on the Hugging Face hub.
        device: `cpu`, `cuda`, `cuda:1`; `auto` takes the GPU if there is one.
        dtype: `float32`, `bfloat16`, or `int8` (CPU only: the transformers' large weights in 8 bits, about
            1% off in each layer, for a quarter of the memory). `auto` is bfloat16 on a GPU and float32 on a
            CPU, or bfloat16 there too where float32 does not fit.
        memory: `high` keeps every part in memory between films, `low` has one part at a time. `auto` keeps
            them if they all fit.

    Raises:
        UserError: there is no such model or device, or the model is not complete.
    """
    opened = open_model(os.fspath(model))
    chosen = device_of(device)
    choice = choose(opened, chosen, dtype=dtype_of(dtype), memory=memory_of(memory))
    return Pipeline(opened, device=chosen, choice=choice)
