"""Flow matching: interpolant, sigma schedules, solvers and guidance. Plain PyTorch without a network."""

from kinema.sampling.guidance import CfgConfig, CfgModel, apply_cfg
from kinema.sampling.interpolant import add_noise
from kinema.sampling.schedule import Schedule, apply_shift, fixed_schedule, linear_schedule, wan_schedule
from kinema.sampling.solver import (
    AncestralNoise,
    Denoiser,
    FrameClamp,
    InpaintMask,
    SolverName,
    Step,
    sample,
)
from kinema.sampling.step_cache import StepCache, StepCacheReport

__all__ = [
    "AncestralNoise",
    "CfgConfig",
    "CfgModel",
    "Denoiser",
    "FrameClamp",
    "InpaintMask",
    "Schedule",
    "SolverName",
    "Step",
    "StepCache",
    "StepCacheReport",
    "add_noise",
    "apply_cfg",
    "apply_shift",
    "fixed_schedule",
    "linear_schedule",
    "sample",
    "wan_schedule",
]
