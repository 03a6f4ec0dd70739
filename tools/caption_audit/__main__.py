"""`python -m tools.caption_audit`: check captions against the simulation."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import tyro

from kinema.errors import UserError
from tools.caption_audit import AuditConfig, run_audit


@dataclass(frozen=True, kw_only=True)
class AuditArgs:
    """Parse the captions of simulated clips and check every statement against the annotations."""

    count: int = 600
    """Clips whose captions are checked."""
    draws: int = 2000
    """Sampled scenes for the balance of outcomes; 0 leaves it out."""
    seed: int = 0
    """Seed of the first clip."""
    lab: bool = False
    """Check the lab."""
    workers: int = 0
    """Processes; 0 takes every core."""
    size: str = "128x128"
    """Width x height at which pixels are counted."""
    num_frames: int = 33
    """Frames of each clip."""
    examples: int = 3
    """False statements to print for each kind."""


def main(arguments: list[str] | None = None) -> None:
    """Print the tables. Exits with 1 if a check fails, and with 2 if an option is invalid."""
    args = tyro.cli(AuditArgs, prog="caption_audit", args=arguments)
    try:
        config = AuditConfig(
            num_clips=args.count,
            num_draws=args.draws,
            seed=args.seed,
            lab=args.lab,
            size=args.size,
            num_frames=args.num_frames,
            max_examples=args.examples,
        )
        passed = run_audit(config, workers=args.workers)
    except UserError as error:
        print(f"caption_audit: {error}", file=sys.stderr)
        sys.exit(2)
    if not passed:
        sys.exit(1)


if __name__ == "__main__":
    main()
