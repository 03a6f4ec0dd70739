"""Flow matching: the path, its schedules, solvers and guidance. Plain PyTorch, no network of its own."""

from kinema.flow.guidance import Guidance, Prompted, guided, two_experts
from kinema.flow.path import noised, target
from kinema.flow.reuse import Reuse, Reused
from kinema.flow.schedule import Schedule, linear_schedule, shifted, wan_schedule
from kinema.flow.solver import Ancestral, Blend, Held, SolverName, Step, Velocity, solve

__all__ = [
    "Ancestral",
    "Blend",
    "Guidance",
    "Held",
    "Prompted",
    "Reuse",
    "Reused",
    "Schedule",
    "SolverName",
    "Step",
    "Velocity",
    "guided",
    "linear_schedule",
    "noised",
    "shifted",
    "solve",
    "target",
    "two_experts",
    "wan_schedule",
]
