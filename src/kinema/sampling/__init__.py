"""Flow matching: the path, its schedules, solvers and guidance. Plain PyTorch, no network of its own."""

from kinema.sampling.guidance import CfgConfig, CfgModel, apply_cfg, two_experts
from kinema.sampling.interpolant import add_noise, velocity_target
from kinema.sampling.schedule import Schedule, apply_shift, linear_schedule, wan_schedule
from kinema.sampling.solver import (
    AncestralNoise,
    Denoiser,
    FrameClamp,
    InpaintMask,
    SolverName,
    Step,
    sample,
)
from kinema.sampling.step_cache import CachedStep, StepCacheConfig

__all__ = [
    "AncestralNoise",
    "InpaintMask",
    "CfgConfig",
    "FrameClamp",
    "CfgModel",
    "StepCacheConfig",
    "CachedStep",
    "Schedule",
    "SolverName",
    "Step",
    "Denoiser",
    "apply_cfg",
    "linear_schedule",
    "add_noise",
    "apply_shift",
    "sample",
    "velocity_target",
    "two_experts",
    "wan_schedule",
]
