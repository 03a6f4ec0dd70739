"""The one pipeline: text -> conditions -> flow.solve(dit) -> vae.decode -> film."""

from __future__ import annotations

import dataclasses
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
from kinema.generate.condition import Condition, Given
from kinema.generate.film import Film, to_uint8
from kinema.generate.machine import device_of
from kinema.generate.network import Experts, Spoken, seen
from kinema.generate.origin import origin_of
from kinema.generate.part import Part
from kinema.generate.plan import CHUNK_PIXELS, Plan, check, plan
from kinema.generate.preview import Preview
from kinema.generate.progress import Saved, Stage, Step
from kinema.generate.request import Request, decide
from kinema.generate.residency import Choice, Dtype, Memory, choose, dtype_of, memory_of, weight_bytes
from kinema.generate.resume import Resumed, Scene, Start
from kinema.generate.speed import measure
from kinema.generate.takes import Take
from kinema.generate.wish import Image, Wish
from kinema.models.dit import Dit
from kinema.models.source import ModelFolder, open_model
from kinema.models.text import TextEncoder, TextStates
from kinema.models.vae import VideoVae
from kinema.models.wan import WanFolder
from kinema.shapes import LatentShape, VideoShape


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
        takes, stride = request.takes, self.model.vae.stride
        resumed = Resumed.of(start, [self._schedule(request, take).steps for take in takes], takes, stride)
        states = self._states(request)
        yield Stage(name="text", done=1, of=1)
        generator = torch.Generator("cpu").manual_seed(request.seed)
        reel = request.reel
        finished: list[Float[Tensor, "1 c f h w"]] = []
        for number, take in enumerate(takes):
            noise = self._noise(request, take, generator)
            latents = resumed.latents(number, noise)
            if number >= resumed.finished:
                condition = reel.condition(take, stride, request.goal).at(take.film)
                scene = self._scene(request, number, condition, states)
                yield Stage(name="pictures", done=number + 1, of=len(takes))
                for step in self._solve(request, number, scene, noise, resumed.start(number), latents):
                    latents = step.latents
                    yield resumed.counted(step, number, finished)
                del scene
            pieces: list[UInt8[np.ndarray, "f h w 3"]] = []
            for done, frames in self._decode(latents):
                pieces.append(frames)
                yield Stage(name="decode", done=done, of=latents.shape[2])
            frames = np.concatenate(pieces)
            if take.condition.base is not None:
                frames = conditions.kept_outside(take.condition.base, frames)
            reel = reel.joined(take, stride, frames, latents.cpu(), request.goal)
            finished.append(latents)
        yield Film(
            frames=reel.film,
            fps=request.fps,
            prompt=" / ".join(line.prompt for take in takes for line in take.condition.lines),
            seed=None if request.noise is not None else request.seed,
            steps=request.steps,
            guidance=request.guidance,
            model=self.model.name,
            end=reel.end,
            origin=origin_of(request, self.model, self.choice, self.device, reel.film),
        )

    def ready(self) -> None:
        """Load transformers and autoencoder now rather than with the first film, where they are kept."""
        if self.choice.keep:
            for part in (*self._dits, self._vae):
                part.get()

    def plan(self, request: Request) -> Plan:
        """What the film costs here, in time and memory; measures this machine for about a second."""
        one = plan(
            self.model,
            request.largest,
            device=self.device,
            choice=self.choice,
            steps=request.steps,
            guided=any(scale != 1 for scale in request.guidance),
            pictures=request.given,
            speed=measure(self.model.dit, self.model.vae, device=self.device, dtype=self.choice.dtype),
            resident=self._resident(),
        )
        return one.times(len(request.takes))

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
            pictures=request.given,
            fps=request.fps,
        )
        return wanted

    def _resident(self) -> int:
        """Bytes of weights in memory now."""
        weights = weight_bytes(self.model, self.choice.dtype, int8=self.choice.int8)
        names = ["text_encoder", "vae", "transformer", "transformer_2"]
        parts = [self._text, self._vae, *self._dits]
        return sum(weights.get(name, 0) for name, part in zip(names, parts, strict=False) if part.resident)

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

    def _states(self, request: Request) -> TextStates:
        """The states of all takes' prompts in order, the negative prompt's last."""
        texts = [line.prompt for take in request.takes for line in take.condition.lines]
        with self._text.use() as encoder:
            return encoder.encode([*texts, request.condition.negative])

    def _spoken(self, request: Request) -> Spoken:
        """What is said in the first take."""
        return self._said(request, 0, request.condition, self._states(request))

    def _said(self, request: Request, number: int, condition: Condition, states: TextStates) -> Spoken:
        """What is said in a take, and what a CLIP sees of its pictures where one belongs to the model."""
        first = sum(len(take.condition.lines) for take in request.takes[:number])
        rows = [*range(first, first + len(condition.lines)), len(states.lengths) - 1]
        shape = self._latent_shape(request.takes[number].film)
        return Spoken(
            states=TextStates(states=states.states[rows], lengths=states.lengths[rows]),
            image=seen(self.model, condition.pictures, dtype=self.choice.dtype, device=self.device),
            speaks=condition.speaking(shape, self.model.vae.stride),
        )

    def _scene(self, request: Request, number: int, condition: Condition, states: TextStates) -> Scene:
        """All that the solver is told of a take: prompts, given latent frames, a film that is changed."""
        spoken = self._said(request, number, condition, states)
        film = request.takes[number].film
        shape, channels, stride = self._latent_shape(film), self.model.vae.z_dim, self.model.vae.stride
        scene = Scene(spoken=spoken, given=Given.nothing(channels, shape))
        if not condition.given and not condition.latents:
            return scene
        with self._vae.use() as vae, torch.no_grad():

            def encode(frames: Tensor) -> Tensor:
                return vae.encode(frames.to(self.device)).cpu()

            base = condition.base
            changed = None if base is None else conditions.change(base, stride, encode)
            if self.model.recipe.pictures == "channels":
                beside = conditions.channels_of(condition, film, shape, stride, encode)
                return dataclasses.replace(scene, channels=beside.to(self.device), changed=changed)
            given = conditions.hold(condition, shape, stride, channels, encode)
            return dataclasses.replace(scene, given=given, changed=changed)

    def _schedule(self, request: Request, take: Take) -> flow.Schedule:
        """The noise levels of a take: all of them, or those from which a film is changed."""
        levels = flow.wan_schedule if self.model.recipe.schedule == "wan" else flow.linear_schedule
        schedule = levels(request.steps, request.shift)
        base = take.condition.base
        return schedule if base is None else schedule.below(base.level)

    def _solve(
        self,
        request: Request,
        number: int,
        scene: Scene,
        noise: Float[Tensor, "1 c f h w"],
        start: Start,
        latents: Float[Tensor, "1 c f h w"],
    ) -> Iterator[Step]:
        """The solver's steps of a take."""
        recipe, given, changed = self.model.recipe, scene.given, scene.changed
        velocity = Experts(
            self._dits,
            [scene.spoken],
            guidance=request.guidance,
            boundary=recipe.boundary,
            channels=scene.channels,
            keep=self.choice.keep,
        )
        schedule = self._schedule(request, request.takes[number])
        # A film that is changed is to stay near to what it was: there no noise is drawn anew.
        eta = recipe.eta if changed is None else 0.0
        if changed is not None and not start.first:
            latents = changed.start(noise, schedule.sigmas[0])
        preview = Preview(self._vae)
        for step in flow.solve(
            velocity,
            latents,
            schedule,
            solver=recipe.solver,
            ancestral=flow.Ancestral(eta=eta, seeds=((request.seed, number),)),
            held=given.held(noise),
            blend=None if changed is None else changed.blend(noise),
            first=start.first,
            history=tuple(row.to(self.device) for row in start.history),
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
                stop = min(start + size, latents.shape[2])
                with torch.no_grad():
                    last = stop == latents.shape[2]
                    frames, cache = vae.decode_chunk(latents[:, :, start:stop], cache, last=last)
                    images = to_uint8(frames)
                yield stop, images

    def _latent_shape(self, film: VideoShape) -> LatentShape:
        return LatentShape.of(film, self.model.vae.stride)

    def _noise(
        self, request: Request, take: Take | None = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "1 c f h w"]:
        """Standard normal, from the CPU's generator; later stages can't change what a seed means."""
        shape = self._latent_shape(request.film if take is None else take.film)
        expected = (1, self.model.vae.z_dim, shape.frames, shape.height, shape.width)
        if request.noise is None:
            generator = generator or torch.Generator("cpu").manual_seed(request.seed)
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
