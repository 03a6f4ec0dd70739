"""Estimate time and peak memory of every stage of a request before it runs.

Operations and bytes are counted from the model's settings. The speed of the machine is measured in about a
second on matrix products, attention and convolutions of the model's own sizes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch

from kinema.errors import UserError
from kinema.models.flops import dit_step_flops, vae_flops_per_pixel
from kinema.models.formats.loader import ModelCheckpoint
from kinema.models.super_resolution import SuperResolutionConfig, flops_per_pixel
from kinema.models.vae.vae_config import VaeConfig
from kinema.pipeline.components import ModelComponents
from kinema.pipeline.machine_cache import cached_numbers, machine_key
from kinema.pipeline.memory_policy import MemoryPolicy, offloaded_bytes, policy_weight_bytes
from kinema.pipeline.peak_memory import StageName, available_memory, peak_memory
from kinema.pipeline.resolved_request import ResolvedRequest
from kinema.pipeline.streaming import default_streaming_config
from kinema.pipeline.throughput import DeviceThroughput, cached_throughput, sampling_time_ratio
from kinema.pipeline.upscale import UpscaleConfig, denoised_tiles
from kinema.shapes import LatentShape, VideoShape

TEXT_TOKENS = 64
"""Tokens of a prompt; usual prompts have 20 to 120."""
IMAGE_TOKENS = 257
"""Tokens of the CLIP image encoder."""
_COPY_BANDWIDTH = 20e9
"""Bytes per second from pinned memory to a GPU over PCIe 4.0 x16, as usually measured; not measured here."""


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """A stage: its operations, seconds, and peak memory in bytes with all weights."""

    name: StageName
    flops: float
    seconds: float
    peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """All stages of a request.

    Attributes:
        video_shape: the largest shape that is sampled at once.
        num_inference_steps: solver steps of all segments.
        costs: of the stages, in order.
        available: bytes that this process may use in all.
    """

    video_shape: VideoShape
    num_inference_steps: int
    costs: tuple[StageCost, ...]
    available: int

    @property
    def peak_bytes(self) -> int:
        """Peak memory of all stages."""
        return max(cost.peak_bytes for cost in self.costs)

    @property
    def seconds(self) -> float:
        """Seconds of all stages."""
        return sum(cost.seconds for cost in self.costs)

    def scale(self, num_segments: int) -> CostEstimate:
        """The same for a number of segments, one after the other."""
        costs = tuple(
            dataclasses.replace(cost, flops=num_segments * cost.flops, seconds=num_segments * cost.seconds)
            for cost in self.costs
        )
        return dataclasses.replace(
            self, costs=costs, num_inference_steps=num_segments * self.num_inference_steps
        )

    @property
    def fits(self) -> bool:
        """Whether the peak fits into the available memory."""
        return self.peak_bytes <= self.available


def estimate_request(
    components: ModelComponents, resolved: ResolvedRequest, throughput: DeviceThroughput | None = None
) -> CostEstimate:
    """Time and peak memory of a request on this machine, its upscaling included.

    Args:
        components: the model; modules that are in memory already are counted once.
        resolved: the request.
        throughput: of this machine; None: as measured once, corrected by the time that videos of this model
            have taken here.
    """
    model, policy, device = components.model, components.policy, components.device
    ratio = 1.0
    if throughput is None:
        throughput = cached_throughput(model.dit, model.vae, device=device, dtype=policy.dtype)
        ratio = sampling_time_ratio(model.dit, throughput, device=device, policy=policy)
    shape, runs = _solver_runs(model, resolved)
    one = estimate_cost(
        model,
        shape,
        device=device,
        policy=policy,
        num_inference_steps=resolved.num_inference_steps,
        use_cfg=_uses_cfg(resolved),
        num_images=resolved.num_encodes,
        throughput=throughput,
        resident_bytes=components.resident_bytes,
        time_ratio=ratio,
    )
    estimate = one.scale(runs)
    if components.super_resolution is not None and resolved.request.upscale > 1:
        config = components.super_resolution.get().config
        enlarging = _super_resolution_cost(config, resolved, throughput, decode_bytes=estimate.peak_bytes)
        return dataclasses.replace(estimate, costs=(*estimate.costs, enlarging))
    passes = [
        _upscale_cost(components, resolved, 2**number, throughput, ratio)
        for number in range(1, resolved.request.upscale.bit_length())
    ]
    if not passes:
        return estimate
    upscaling = StageCost(
        name="upscale",
        flops=sum(one.flops for one in passes),
        seconds=sum(one.seconds for one in passes),
        peak_bytes=max(one.peak_bytes for one in passes),
    )
    return dataclasses.replace(estimate, costs=(*estimate.costs, upscaling))


def _super_resolution_cost(
    config: SuperResolutionConfig,
    resolved: ResolvedRequest,
    throughput: DeviceThroughput,
    *,
    decode_bytes: int,
) -> StageCost:
    """Enlarging every frame by a network, as it is decoded in `decode_bytes`."""
    (width, height), factor = resolved.size, resolved.request.upscale
    operations = flops_per_pixel(config, factors=(factor,)) * width * height
    channels = config.channels_2x if factor == 2 else config.channels_4x
    # Two activations of the last layers, float32, and the frames that were enlarged.
    activations = 2 * 4 * channels * factor**2 * width * height
    frames = 3 * factor**2 * width * height * resolved.num_frames
    return StageCost(
        name="upscale",
        flops=operations * resolved.num_frames,
        seconds=operations * resolved.num_frames / throughput.convolution,
        peak_bytes=decode_bytes + activations + frames,
    )


def _upscale_cost(
    components: ModelComponents,
    resolved: ResolvedRequest,
    factor: int,
    throughput: DeviceThroughput,
    time_ratio: float,
) -> StageCost:
    """The pass that enlarges the video to `factor` times its size: encode, denoise in tiles, decode."""
    model, stride = components.model, components.model.vae.stride
    width, height = resolved.size
    frames = resolved.num_frames + (1 - resolved.num_frames) % stride.temporal
    whole = VideoShape(frames=frames, height=factor * height, width=factor * width)
    tiles = denoised_tiles(model, LatentShape.of(whole, stride))
    tile = VideoShape(
        frames=stride.frames(len(tiles[0].frames)),
        height=stride.spatial * len(tiles[0].rows),
        width=stride.spatial * len(tiles[0].columns),
    )

    def costs(shape: VideoShape, num_steps: int) -> dict[StageName, StageCost]:
        cost = estimate_cost(
            model,
            shape,
            device=components.device,
            policy=components.policy,
            num_inference_steps=num_steps,
            use_cfg=_uses_cfg(resolved),
            num_images=1,
            throughput=throughput,
            resident_bytes=components.resident_bytes,
            time_ratio=time_ratio,
        )
        return {stage.name: stage for stage in cost.costs}

    num_steps = resolved.sampler_config().sigmas(UpscaleConfig.sigma).num_steps
    one_tile, coding = costs(tile, num_steps * len(tiles)), costs(whole, 0)
    # Encoding all frames takes about as long as decoding them.
    parts = [one_tile["sample"], coding["decode"], coding["decode"]]
    pixels = 3 * whole.frames * whole.height * whole.width
    return StageCost(
        name="upscale",
        flops=sum(part.flops for part in parts),
        seconds=sum(part.seconds for part in parts),
        # The frames of the larger video are kept as they are decoded.
        peak_bytes=pixels + max(part.peak_bytes for part in (*parts, coding["images"])),
    )


def step_operations(components: ModelComponents, resolved: ResolvedRequest) -> tuple[float, float]:
    """Operations of one solver step in linear layers and in attention."""
    model = components.model
    shape = LatentShape.of(resolved.largest_shape, model.vae.stride)
    linear, attention = dit_step_flops(model.dit, shape, _num_context_tokens(model))
    passes = 2 if _uses_cfg(resolved) else 1
    return passes * linear, passes * attention


def check_request_fits(
    components: ModelComponents, resolved: ResolvedRequest, estimate: CostEstimate
) -> None:
    """Refuse a request that does not fit into memory.

    Raises:
        UserError: it does not fit; the message says what fits.
    """
    generated = tuple(cost for cost in estimate.costs if cost.name != "upscale")
    check_fits(
        components.model,
        dataclasses.replace(estimate, costs=generated),
        device=components.device,
        policy=components.policy,
        use_cfg=_uses_cfg(resolved),
        num_images=resolved.num_encodes,
        fps=resolved.fps,
    )
    if not estimate.fits:
        width, height = (resolved.request.upscale * side for side in resolved.size)
        raise UserError(
            f"upscaling to {width}x{height} needs {estimate.peak_bytes / 2**30:.1f} GiB and "
            f"{estimate.available / 2**30:.1f} GiB are free; what fits: a smaller factor, or no upscaling"
        )


def _num_context_tokens(model: ModelCheckpoint) -> float:
    return float(TEXT_TOKENS + (IMAGE_TOKENS if model.dit.image_width else 0))


def _uses_cfg(resolved: ResolvedRequest) -> bool:
    return any(scale != 1 for scale in resolved.guidance_scale)


def _solver_runs(model: ModelCheckpoint, resolved: ResolvedRequest) -> tuple[VideoShape, int]:
    """The largest shape that the solver sees at once, and how many runs of it there are."""
    largest = resolved.largest_shape
    if not resolved.is_streamed:
        return largest, len(resolved.segments)
    config, stride = default_streaming_config(model), model.vae.stride
    shapes = [LatentShape.of(segment.video_shape, stride).frames for segment in resolved.segments]
    blocks = sum(len(list(config.blocks(frames))) for frames in shapes)
    context = 0 if config.context_mode == "cache" else config.window
    frames = stride.frames(max(config.first, config.block + context) - 1)
    return dataclasses.replace(largest, frames=min(frames, largest.frames)), blocks


def estimate_cost(
    model: ModelCheckpoint,
    video_shape: VideoShape,
    *,
    device: torch.device,
    policy: MemoryPolicy,
    num_inference_steps: int,
    use_cfg: bool,
    num_images: int,
    throughput: DeviceThroughput,
    resident_bytes: int = 0,
    time_ratio: float = 1.0,
) -> CostEstimate:
    """The cost of one segment.

    Args:
        model: its settings and the headers of its files are read.
        video_shape: a shape that fits the model.
        device: where it runs.
        policy: type of the weights, and whether modules stay loaded.
        num_inference_steps: solver steps.
        use_cfg: whether each step runs the network with and without the prompt.
        num_images: images and clips that the autoencoder encodes.
        throughput: of this machine.
        resident_bytes: of modules that are in memory already.
        time_ratio: factor on the time of sampling.
    """
    weights = policy_weight_bytes(model, policy)
    memory = peak_memory(
        model,
        video_shape,
        weights=weights,
        device=device,
        policy=policy,
        use_cfg=use_cfg,
        num_images=num_images,
    )
    shape = LatentShape.of(video_shape, model.vae.stride)
    text = sum(
        tensor.numel
        for tensor in model.list_tensors("text_encoder").values()
        if len(tensor.shape) == 2 and "shared" not in tensor.name and "embed" not in tensor.name
    )
    operations = {"text": 2.0 * text * 2 * TEXT_TOKENS}
    reading = weights.get("text_encoder", 0) / throughput.bandwidth
    seconds = {"text": max(operations["text"] / throughput.matmul, reading)}
    if num_images:
        whole = model.sampling_defaults.image_conditioning == "channels"
        operations["images"] = _vae_flops(model.vae, shape, device, encoder=True, all_frames=whole)
        seconds["images"] = operations["images"] / throughput.convolution
    linear, attention = dit_step_flops(model.dit, shape, _num_context_tokens(model))
    times = num_inference_steps * (2 if use_cfg else 1)
    operations["sample"] = times * (linear + attention)
    seconds["sample"] = time_ratio * times * throughput.transformer_seconds(linear, attention)
    # Guidance is a batch: the blocks are copied once for both predictions, while others compute.
    copying = num_inference_steps * offloaded_bytes(model, policy) / _COPY_BANDWIDTH
    seconds["sample"] = max(seconds["sample"], copying)
    operations["decode"] = _vae_flops(model.vae, shape, device, encoder=False, all_frames=True)
    seconds["decode"] = operations["decode"] / throughput.convolution
    costs = tuple(
        StageCost(name=name, flops=operations[name], seconds=seconds[name], peak_bytes=peak)
        for name, peak in memory.items()
    )
    return CostEstimate(
        video_shape=video_shape,
        num_inference_steps=num_inference_steps,
        costs=costs,
        available=available_memory(device, resident_bytes, policy.budget),
    )


def _vae_flops(
    config: VaeConfig, shape: LatentShape, device: torch.device, *, encoder: bool, all_frames: bool
) -> float:
    """`kinema.models.flops.vae_flops`, counted once on each machine."""

    def count() -> dict[str, float]:
        first, later = vae_flops_per_pixel(config, encoder=encoder)
        return {"first": first, "later": later}

    key = machine_key(device, kind="vae flops", config=repr(config), encoder=encoder)
    numbers = cached_numbers(key, count)
    if numbers.keys() != {"first", "later"}:
        numbers = count()
    later = (shape.frames - 1) * numbers["later"] if all_frames else 0
    return shape.height * shape.width * (numbers["first"] + later)


def check_fits(
    model: ModelCheckpoint,
    estimate: CostEstimate,
    *,
    device: torch.device,
    policy: MemoryPolicy,
    use_cfg: bool,
    num_images: int,
    fps: float,
) -> None:
    """Refuse what does not fit into memory, and say what fits.

    Raises:
        UserError: the estimate does not fit.
    """
    if estimate.fits:
        return

    def fits(video_shape: VideoShape, candidate: MemoryPolicy) -> bool:
        weights = policy_weight_bytes(model, candidate)
        worst = peak_memory(
            model,
            video_shape,
            weights=weights,
            device=device,
            policy=candidate,
            use_cfg=use_cfg,
            num_images=num_images,
        )
        return max(worst.values()) <= estimate.available

    options = []
    low = dataclasses.replace(policy, keep_loaded=False)
    frugal = [
        ("memory low", low),
        ("dtype bfloat16 and memory low", dataclasses.replace(low, dtype=torch.bfloat16)),
        ("memory blocks", dataclasses.replace(low, offload_blocks=True)),
    ]
    if device.type == "cpu":
        frugal.append(("dtype int8 and memory low", dataclasses.replace(low, int8=True)))
    for name, chosen in frugal:
        if chosen != policy and fits(estimate.video_shape, chosen):
            options.append(f"this video with {name}")
            break
    smaller = _largest_fitting_shape(model, estimate.video_shape, lambda shape: fits(shape, policy))
    if smaller is not None:
        options.append(
            f"{smaller.width}x{smaller.height} for {smaller.frames / fps:.1f} s ({smaller.frames} frames)"
        )
    what = " or ".join(options) if options else "nothing of this model; use a smaller model"
    raise UserError(
        f"{estimate.video_shape.frames} frames at {estimate.video_shape.width}x{estimate.video_shape.height} "
        f"need {estimate.peak_bytes / 2**30:.1f} GiB and {estimate.available / 2**30:.1f} GiB are free; what "
        f"fits: {what}"
    )


def _largest_fitting_shape(
    model: ModelCheckpoint, video_shape: VideoShape, fits: Callable[[VideoShape], bool]
) -> VideoShape | None:
    """A shorter and smaller shape of the same aspect ratio that fits; None if there is none."""
    for scale in (1.0, 0.84, 0.7, 0.6, 0.5, 0.42, 0.35, 0.25, 0.18, 0.125):
        for length in (1.0, 0.75, 0.5, 0.25):
            smaller = VideoShape(
                frames=max(1, round(video_shape.frames * length)),
                height=max(1, round(video_shape.height * scale)),
                width=max(1, round(video_shape.width * scale)),
            ).rounded(model.vae.stride, model.dit.patch_size)
            if smaller != video_shape and fits(smaller):
                return smaller
    return None
