"""VACE against diffusers: every task gives the same video; and what no other model can do."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
import torch

from kinema.errors import UserError
from kinema.pipeline.control import detect_edges, place_on_canvas
from kinema.pipeline.pipeline import load
from kinema.pipeline.request import ControlInput, EditInput, ExtendInput, VideoRequest
from tests.fixtures import wan_files, wan_fixtures, wan_videos

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:diffusers", "ignore::UserWarning:transformers")
SIDE, FRAMES = 64, 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import diffusers

    tokenizer = wan_fixtures.tokenizer()
    target = tmp_path_factory.mktemp("vace") / "vace"
    model = wan_files.transformer(layers=3, control_layers=(0, 2))
    with torch.no_grad():  # for a branch that changes the video visibly
        for block in model.vace_blocks:
            block.proj_out.weight.mul_(8)
    diffusers.WanVACEPipeline(
        tokenizer=tokenizer,
        text_encoder=wan_fixtures.text_encoder(len(tokenizer)),
        vae=wan_fixtures.vae(residual=False),
        transformer=model,
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    ).save_pretrained(target)
    return target


@pytest.fixture(scope="module")
def pipe(folder):
    return load(folder, device="cpu", dtype="float32", memory="high")


@pytest.fixture(scope="module")
def peer(folder):
    import diffusers

    pipeline = diffusers.WanVACEPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def as_images(frames):
    from PIL import Image

    return [Image.fromarray(frame) for frame in frames]


def moving_video(seed: int, frames: int = FRAMES, side: int = SIDE) -> np.ndarray:
    image = wan_videos.smooth_image(seed, side)
    return np.stack([np.roll(image, 3 * number, axis=1) for number in range(frames)])


def write_video(path, frames):
    """A lossless file, so that both sides see the same pixels."""
    from kinema.media.write import write_video as write

    write(path, frames, fps=16)
    return path


def theirs(peer, video, mask, references=None, scale=1.0) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = peer(
            prompt=wan_videos.PROMPT,
            negative_prompt=wan_videos.NEGATIVE_PROMPT,
            video=video,
            mask=mask,
            reference_images=references,
            conditioning_scale=scale,
            height=SIDE,
            width=SIDE,
            num_frames=FRAMES,
            num_inference_steps=3,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(0),
            output_type="pil",
        ).frames[0]
    return np.stack([np.asarray(frame) for frame in result])


BASE = VideoRequest(
    prompt=wan_videos.PROMPT,
    negative_prompt=wan_videos.NEGATIVE_PROMPT,
    size=(SIDE, SIDE),
    num_inference_steps=3,
    guidance_scale=3.0,
)


def ours(pipe, **changes) -> np.ndarray:
    changes = {"num_frames": FRAMES} | changes
    return pipe.generate(dataclasses.replace(BASE, **changes)).frames


def grey_tensor(known: dict[int, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Video and mask in diffusers' tensor form: grey is exactly 0."""
    video, mask = torch.zeros(1, FRAMES, 3, SIDE, SIDE), torch.ones(1, FRAMES, 3, SIDE, SIDE)
    for frame, image in known.items():
        video[0, frame] = torch.from_numpy(image.copy()).permute(2, 0, 1) / 127.5 - 1
        mask[0, frame] = 0
    return video, mask


class Tensors:
    """Hands tensors through diffusers' preprocessing of images unchanged."""

    def __init__(self, peer, video, mask):
        self.peer, self.video, self.mask = peer, video, mask

    def __enter__(self):
        self.original = self.peer.preprocess_conditions

        def replaced(video, mask, references, *rest):
            own = self.original(None, None, references, *rest)
            return self.video.transpose(1, 2), self.mask.transpose(1, 2), own[2]

        self.peer.preprocess_conditions = replaced

    def __exit__(self, *_):
        del self.peer.preprocess_conditions


@pytest.mark.slow
def test_text(pipe, peer):
    wan_videos.check_frames_match(ours(pipe), theirs(peer, None, None))


@pytest.mark.slow
@pytest.mark.parametrize("known", [(0,), (0, FRAMES - 1)], ids=["first frame", "first and last frame"])
def test_images(pipe, peer, known):
    images = {frame: wan_videos.smooth_image(5 + frame) for frame in known}
    names = {0: "image", FRAMES - 1: "last_image"}
    with Tensors(peer, *grey_tensor(images)):
        expected = theirs(peer, None, None)
    wan_videos.check_frames_match(
        ours(pipe, **{names[frame]: image for frame, image in images.items()}), expected
    )


@pytest.mark.parametrize("scale", [pytest.param(1.0, marks=pytest.mark.slow), 0.5])
def test_control_video_and_references(pipe, peer, tmp_path, scale):
    control = moving_video(3)
    file = write_video(tmp_path / "control", control)
    reference = wan_videos.smooth_image(9, 48)[:40]
    expected = theirs(peer, as_images(control), None, as_images([reference]), scale)
    found = ours(pipe, control=ControlInput(video=file, kind="depth", scale=scale), references=(reference,))
    wan_videos.check_frames_match(found, expected)


@pytest.mark.slow
def test_two_references(pipe, peer):
    references = [wan_videos.smooth_image(9), wan_videos.smooth_image(10)]
    # diffusers puts each reference in front of those before; the original repository keeps their order.
    expected = theirs(peer, None, None, as_images(references[::-1]))
    wan_videos.check_frames_match(ours(pipe, references=tuple(references)), expected)


def test_mask_editing(pipe, peer, tmp_path):
    source = moving_video(4)
    mask = np.zeros((SIDE, SIDE, 3), np.uint8)
    mask[16:48, 8:40] = 255
    shown = torch.from_numpy(source.copy()).permute(0, 3, 1, 2)[None] / 127.5 - 1
    white = torch.from_numpy(mask).permute(2, 0, 1).float()[None, None].expand(1, FRAMES, -1, -1, -1) / 255
    with Tensors(peer, shown * (1 - white), white):
        edited = theirs(peer, None, None)
    expected = np.where(mask > 0, edited, source)
    found = ours(
        pipe,
        num_frames=None,
        source=EditInput(video=write_video(tmp_path / "source", source), strength=1.0, mask=mask),
    )
    wan_videos.check_frames_match(found, expected)


def test_a_mask_video_moves_with_what_it_hides(pipe, tmp_path):
    source = moving_video(4)
    mask = np.zeros((FRAMES, SIDE, SIDE, 3), np.uint8)
    for frame in range(FRAMES):
        mask[frame, 16:48, 4 * frame : 4 * frame + 16] = 255
    edit = EditInput(
        video=write_video(tmp_path / "source", source),
        strength=1.0,
        mask=write_video(tmp_path / "mask", mask),
    )
    found = ours(pipe, num_frames=None, num_inference_steps=1, guidance_scale=1.0, source=edit)
    assert np.array_equal(found[mask == 0], source[mask == 0])
    changed = (found != source).reshape(FRAMES, -1).mean(axis=1)
    assert (changed > 0.05).all()


@pytest.mark.slow
def test_outpainting(pipe, peer, tmp_path):
    source = moving_video(4, side=48)
    canvas, border = place_on_canvas(source, (16, 0, 0, 16))
    assert canvas.shape[1:3] == (SIDE, SIDE)
    shown = torch.from_numpy(canvas.copy()).permute(0, 3, 1, 2)[None] / 127.5 - 1
    white = torch.from_numpy(border)[None, None, None].expand(1, FRAMES, 3, -1, -1)
    with Tensors(peer, shown * (1 - white), white):
        edited = theirs(peer, None, None)
    found = ours(
        pipe,
        num_frames=None,
        size=None,
        source=EditInput(video=write_video(tmp_path / "source", source), strength=1.0, expand=(16, 0, 0, 16)),
    )
    wan_videos.check_frames_match(found, np.where(border[..., None] > 0, edited, canvas))


@pytest.mark.slow
def test_extension_continues_the_last_frames(pipe, peer, tmp_path):
    source = moving_video(6, frames=6)
    model = pipe.model
    small = dataclasses.replace(model.sampling_defaults, num_frames=FRAMES)
    resolved = dataclasses.replace(model, sampling_defaults=small)
    from kinema.pipeline.pipeline import Pipeline

    short = Pipeline(resolved, device=pipe.device, policy=pipe.policy)
    found = ours(short, num_frames=None, source=ExtendInput(video=write_video(tmp_path / "source", source)))
    # A window of 3 latent frames overlaps by 1: not enough to share a group, so the last frame is shared.
    known = dict(enumerate(source[-(len(source) + FRAMES - len(found)) :]))
    with Tensors(peer, *grey_tensor(known)):
        expected = theirs(peer, None, None)
    wan_videos.check_frames_match(found[len(source) :], expected[len(known) :])


def test_edges_are_thin_lines_where_the_brightness_changes():
    frame = np.zeros((32, 32, 3), np.uint8)
    frame[:, 16:] = 255
    edges = detect_edges(frame[None])[0]
    assert set(np.unique(edges)) == {0, 255}
    columns = np.flatnonzero(edges[8:24, :, 0].any(axis=0))
    assert len(columns) <= 2
    assert set(columns) <= {15, 16}
    assert not detect_edges(np.full((1, 16, 16, 3), 77, np.uint8)).any()


@pytest.mark.slow
def test_edges_are_computed_from_a_plain_video(pipe, tmp_path):
    video = moving_video(3)
    plain, edges = (
        write_video(tmp_path / "plain", video),
        write_video(tmp_path / "edges", detect_edges(video)),
    )
    assert np.array_equal(
        ours(pipe, control=ControlInput(video=plain, kind="edge")),
        ours(pipe, control=ControlInput(video=edges, kind="raw")),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"control": ControlInput(video="x.mp4")},
            "no control branch, which a control video needs; use Wan VACE",
        ),
        ({"references": (np.zeros((8, 8, 3), np.uint8),)}, "no control branch, which reference images needs"),
        (
            {"source": EditInput(video="x.mp4", expand=(8, 0, 0, 0))},
            "no control branch, which an expanded frame",
        ),
    ],
)
def test_other_models_say_what_would_work(tmp_path, changes, message):
    folder = wan_fixtures.save_variant("t2v-2.1", tmp_path / "t2v")
    plain = load(folder, device="cpu", dtype="float32")
    with pytest.raises(UserError, match=message):
        plain.resolve(VideoRequest(prompt="x", **changes))
