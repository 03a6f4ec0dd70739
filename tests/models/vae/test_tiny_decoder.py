"""The tiny decoder against a plain reading of TAEHV's layout."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from kinema.errors import UserError
from kinema.models.formats.tiny_decoder import load_tiny_decoder
from kinema.models.vae.tiny_decoder import TinyDecoder

CPU = torch.device("cpu")
WIDTHS, TIMES = (12, 8, 6, 4), (1, 2, 2)


def save(file, *, channels: int = 16, patch: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = TinyDecoder(channels, WIDTHS, TIMES, patch)
    tensors = {name: torch.randn_like(value) * 0.2 for name, value in model.state_dict().items()}
    for name, value in tensors.items():
        if name.endswith("weight"):  # so that values stay of one size through all layers
            value.mul_(5 * value[0].numel() ** -0.5)
    save_file(tensors | {"encoder.0.weight": torch.zeros(4, 3, 3, 3)}, file)
    return tensors


def frame_by_frame(tensors: dict[str, torch.Tensor], latents: torch.Tensor, patch: int) -> torch.Tensor:
    """Layer by layer and frame by frame, with the memory of each block as a variable."""
    frames = [latents[0, :, index] for index in range(latents.shape[2])]

    def convolve(x, name):
        return functional.conv2d(
            x[None], tensors[f"{name}.weight"], tensors.get(f"{name}.bias"), padding="same"
        )[0]

    frames = [convolve(3 * torch.tanh(frame / 3), "decoder.1").relu() for frame in frames]
    for stage in range(3):
        for block in range(3):
            name, memory, out = f"decoder.{3 + 6 * stage + block}.conv", torch.zeros_like(frames[0]), []
            for frame in frames:
                hidden = convolve(torch.cat([frame, memory]), f"{name}.0").relu()
                hidden = convolve(convolve(hidden, f"{name}.2").relu(), f"{name}.4")
                out.append((hidden + frame).relu())
                memory = frame
            frames = out
        grown = []
        for frame in frames:
            large = frame.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
            grown += convolve(large, f"decoder.{7 + 6 * stage}.conv").chunk(TIMES[stage])
        frames = [convolve(frame, f"decoder.{8 + 6 * stage}") for frame in grown]
    frames = [convolve(frame.relu(), "decoder.22") for frame in frames]
    images = [functional.pixel_shuffle(frame, patch) for frame in frames[3:]]
    return torch.stack(images, dim=1)[None].clamp(0, 1) * 2 - 1


@pytest.mark.parametrize("patch", [1, 2])
def test_frames_are_those_of_the_layout(tmp_path, patch):
    tensors = save(tmp_path / "tae.safetensors", patch=patch)
    decoder = load_tiny_decoder(tmp_path / "tae.safetensors", latent_channels=16, device=CPU)
    latents = torch.randn(1, 16, 3, 4, 5)
    found = decoder.decode(latents)
    assert found.shape == (1, 3, 9, 32 * patch, 40 * patch)
    torch.testing.assert_close(found, frame_by_frame(tensors, latents, patch), atol=1e-5, rtol=0)
    assert found.std() > 0.01


def test_files_that_do_not_fit(tmp_path):
    save(tmp_path / "tae.safetensors", channels=48)
    with pytest.raises(UserError, match=r"decodes 48 latent channels and the model has 16; give taew2_1"):
        load_tiny_decoder(tmp_path / "tae.safetensors", latent_channels=16, device=CPU)
    save_file({"decoder.1.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="is not a tiny decoder"):
        load_tiny_decoder(tmp_path / "other.safetensors", latent_channels=16, device=CPU)


def test_previews_use_it(tmp_path):
    from kinema.pipeline.latent_preview import LatentPreviewer
    from kinema.pipeline.lazy_module import LazyModule

    save(tmp_path / "tae.safetensors")
    tiny = LazyModule(
        lambda: load_tiny_decoder(tmp_path / "tae.safetensors", latent_channels=16, device=CPU),
        keep_loaded=True,
    )
    previewer = LatentPreviewer(LazyModule(lambda: pytest.fail("the autoencoder"), keep_loaded=True), tiny)
    assert previewer.render(torch.randn(1, 16, 3, 4, 4)).shape == (9, 32, 32, 3)
