"""A pipeline as the video source of a scorecard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from kinema.evaluation.video_sources import SampleRequest, VideoFormat
from kinema.frames import FrameArray, to_frames, to_model_range
from kinema.models.formats.fingerprint import fingerprint
from kinema.models.formats.loader import open_model
from kinema.pipeline.device import resolve_device
from kinema.pipeline.loras import resolve_loras
from kinema.pipeline.pipeline import Pipeline, load
from kinema.pipeline.request import Lora, VideoRequest

GPU_BATCH_SIZE = 16
"""Videos generated at once on a GPU."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PipelineGenerator:
    """Generates videos with a pipeline. The noise of each video depends on its own seed only."""

    pipeline: Pipeline
    loras: tuple[Lora, ...] = ()

    def generate(self, requests: Sequence[SampleRequest], video_format: VideoFormat) -> Iterator[FrameArray]:
        """Generate the videos in one batch; one by one where the format is longer than the model's own."""
        video_requests = [
            VideoRequest(
                prompt=request.prompt,
                seed=request.seed,
                num_frames=video_format.num_frames,
                size=(video_format.width, video_format.height),
                fps=video_format.fps,
                loras=self.loras,
            )
            for request in requests
        ]
        if len(video_requests) == 1 or self.pipeline.resolve(video_requests[0]).is_streamed:
            yield from (self.pipeline.generate(request).frames for request in video_requests)
        else:
            yield from (video.frames for video in self.pipeline.generate_batch(video_requests))


@dataclass(frozen=True, kw_only=True)
class PipelineGeneratorFactory:
    """Loads a model by its name or folder, in this process or in a worker.

    On a CPU every process generates its own videos with one thread: on two cores that is faster than two
    threads for one video, and no result depends on the number of processes.

    Attributes:
        model: name or folder.
        requested_batch_size: videos per batch. None means 16 on a GPU and 1 on a CPU, where batches of 4 and
            8 cost 0.98 and 1.09 of single videos at 128 x 128.
        loras: changes of the model's weights.
    """

    model: str
    requested_batch_size: int | None = None
    loras: tuple[Lora, ...] = ()

    @property
    def per_process(self) -> bool:
        """Whether every process generates its own videos; a GPU is used by one process."""
        return resolve_device("auto").type == "cpu"

    @property
    def batch_size(self) -> int:
        """Videos per batch."""
        return self.requested_batch_size or (1 if self.per_process else GPU_BATCH_SIZE)

    def load_generator(self) -> PipelineGenerator:
        """Load the model.

        Raises:
            UserError: there is no such model.
        """
        return PipelineGenerator(pipeline=load(self.model), loras=self.loras)

    def load_reconstructor(self) -> Callable[[FrameArray], FrameArray]:
        """Load the autoencoder alone, as a function that encodes and decodes a video."""
        vae = open_model(self.model).load_vae(device=resolve_device("cpu"))

        @torch.no_grad()
        def reconstruct(frames: FrameArray) -> FrameArray:
            return to_frames(vae.decode(vae.encode(to_model_range(frames))))

        return reconstruct

    def resolve_video_format(
        self, *, size: tuple[int, int] | None, num_frames: int | None, fps: float | None
    ) -> VideoFormat:
        """The model's default format, with the fields that are not None replaced. `size` is (width, height).

        Raises:
            UserError: there is no such model.
        """
        defaults = open_model(self.model).sampling_defaults
        width, height = size or defaults.size
        return VideoFormat(
            height=height,
            width=width,
            num_frames=num_frames or defaults.num_frames,
            fps=fps or defaults.fps,
        )

    def fingerprint(self) -> str:
        """Identify the weights, so that results of two models are never mixed in one folder."""
        model = open_model(self.model)
        digest = fingerprint(model.folder)
        for one in resolve_loras(model, self.loras, {}):
            digest += f" {one.sha256} {one.strengths}"
        return digest
