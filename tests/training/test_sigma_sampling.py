"""Training sigmas: range, distribution, clean prefixes and suffixes, one by one and in batches."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema.data import rng
from kinema.training.sigma_sampling import (
    SINGLE_FRAME_PREFIX_SHARE,
    SigmaSamplingConfig,
    sample_sigmas,
    sample_sigmas_batched,
)


@given(seed=st.integers(0, 10**6), frames=st.integers(1, 9))
def test_sampled_sigmas_are_in_range(seed, frames):
    config = SigmaSamplingConfig(diffusion_forcing_p=0.3, prefix_p=0.3, suffix_p=0.3)
    sigmas = sample_sigmas(config, frames, rng.generator(seed))
    assert sigmas.shape == (frames,)
    assert ((sigmas >= 0) & (sigmas < 1)).all()
    # Clean frames are at the ends, and at least one frame is noisy.
    noisy = [frame for frame in range(frames) if sigmas[frame] > 0]
    assert noisy == list(range(noisy[0], noisy[-1] + 1))


def test_single_frame_prefix_draws_no_extra_random_numbers():
    """The numbers drawn after the sigmas (noise, captions) must not change in runs that are resumed."""
    config = SigmaSamplingConfig(diffusion_forcing_p=0.0, prefix_p=1.0, suffix_p=0.0, low_p=0.0)
    single = 0
    for seed in range(40):
        generator, reference = rng.generator(seed), rng.generator(seed)
        sigmas = sample_sigmas(config, 5, generator)
        is_short = torch.rand(2, generator=reference)[1] < SINGLE_FRAME_PREFIX_SHARE
        if (sigmas == 0).sum() == 1 and is_short:
            torch.randn(1, generator=reference)
            assert torch.rand(1, generator=generator) == torch.rand(1, generator=reference)
            single += 1
    assert single > 5


def test_sampled_sigmas_follow_their_probabilities():
    config = SigmaSamplingConfig(
        logit_mean=1.2, low_logit_mean=0.0, low_p=0.3, diffusion_forcing_p=0.2, prefix_p=0.1, suffix_p=0.1
    )
    sigmas = torch.stack([sample_sigmas(config, 5, rng.generator(1, i)) for i in range(4000)])
    has_suffix = sigmas[:, -1] == 0
    assert has_suffix.float().mean().item() == pytest.approx(0.1, abs=0.015)
    counts = {(int((row[:3] == 0).sum()), int((row[3:] == 0).sum())) for row in sigmas[has_suffix]}
    assert counts == {(first, last) for first in range(3) for last in (1, 2)}
    sigmas = sigmas[~has_suffix]
    has_prefix = sigmas[:, 0] == 0
    is_uniform = sigmas.max(1).values == sigmas.min(1).values
    assert has_prefix.float().mean().item() == pytest.approx(0.1 / 0.9, abs=0.015)
    assert (~has_prefix & ~is_uniform).float().mean().item() == pytest.approx(0.2 / 0.9, abs=0.02)
    logits = torch.logit(sigmas[is_uniform][:, 0])
    # A mixture of N(1.2, 1) and N(0, 1) with shares 0.7 and 0.3.
    assert logits.mean().item() == pytest.approx(0.84, abs=0.06)
    assert logits.var().item() == pytest.approx(1 + 0.21 * 1.2**2, abs=0.1)


def test_batched_sigmas_have_the_same_distribution():
    config = SigmaSamplingConfig(
        logit_mean=1.2, low_logit_mean=0.0, low_p=0.3, diffusion_forcing_p=0.2, prefix_p=0.1, suffix_p=0.2
    )
    sigmas = sample_sigmas_batched(config, 6000, 5, rng.generator(1))
    has_suffix = sigmas[:, -1] == 0
    assert has_suffix.float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert (sigmas[has_suffix][:, 0] == 0).float().mean().item() == pytest.approx(1 / 3, abs=0.05)
    sigmas = sigmas[~has_suffix]
    assert sigmas.shape == (len(sigmas), 5)
    assert ((sigmas >= 0) & (sigmas < 1)).all()
    has_prefix = sigmas[:, 0] == 0
    is_uniform = sigmas.max(1).values == sigmas.min(1).values
    assert has_prefix.float().mean().item() == pytest.approx(0.1 / 0.8, abs=0.02)
    assert (~has_prefix & ~is_uniform).float().mean().item() == pytest.approx(0.2 / 0.8, abs=0.02)
    assert (sigmas[has_prefix] > 0).any(1).all()
    logits = torch.logit(sigmas[is_uniform][:, 0])
    assert logits.mean().item() == pytest.approx(0.84, abs=0.06)
    assert logits.var().item() == pytest.approx(1 + 0.21 * 1.2**2, abs=0.1)


def test_windows_are_always_conditioned_on_more_than_the_first_frame():
    config = SigmaSamplingConfig().for_windows()
    one_by_one = torch.stack([sample_sigmas(config, 5, rng.generator(2, i)) for i in range(3000)])
    batched = sample_sigmas_batched(config, 3000, 5, rng.generator(3))
    shares = []
    for sigmas in (one_by_one, batched):
        is_clean = sigmas == 0
        assert is_clean.any(1).all()
        assert not is_clean.all(1).any()
        no_suffix = ~is_clean[:, -1]
        prefix = is_clean[no_suffix].sum(1)
        assert (prefix >= 2).all()
        shares.append([no_suffix.float().mean().item(), (prefix == 2).float().mean().item()])
        # The noisy frames have one sigma.
        noisy = torch.where(is_clean, torch.nan, sigmas)
        assert (noisy.nan_to_num(0).max(1).values == noisy.nan_to_num(2).min(1).values).all()
    assert shares[0] == pytest.approx([0.65, 0.4 + 0.6 / 3], abs=0.03)
    assert shares[1] == pytest.approx(shares[0], abs=0.04)
