"""The command `kinema`: one subcommand per file of this package, each a tree of typed dataclasses.

A command is a frozen dataclass whose fields are its options and whose `run()` does the work. Heavy
imports belong inside `run`, so that `kinema --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Protocol

import tyro
from benchmarks.cli import Bench
from tyro.conf import subcommand

from kinema.cli.dataset import Dataset
from kinema.cli.evaluate import Evaluate
from kinema.cli.generate import Estimate, Generate
from kinema.cli.inspect import Inspect
from kinema.cli.serve import Serve, Worker
from kinema.cli.sign import Sign
from kinema.cli.studio import Studio
from kinema.cli.train import Train
from kinema.cli.video_commands import EditVideo, ExtendVideo, InterpolateVideos, Reproduce, Resume
from kinema.errors import UserError


class Command(Protocol):
    """What every subcommand can do."""

    def run(self) -> None:
        """Do what the command line asked for."""


AnyCommand = (
    Annotated[Generate, subcommand("generate", description="Make a film from words.")]
    | Annotated[ExtendVideo, subcommand("extend", description="Let a film go on, or begin earlier.")]
    | Annotated[InterpolateVideos, subcommand("connect", description="Lead from one film to another.")]
    | Annotated[EditVideo, subcommand("edit", description="Change a film and keep the rest.")]
    | Annotated[Reproduce, subcommand("replay", description="Make a film again from its file.")]
    | Annotated[Resume, subcommand("resume", description="Go on with a film that was stopped.")]
    | Annotated[Estimate, subcommand("plan", description="Say what a film would cost here.")]
    | Annotated[Studio, subcommand("studio", description="A page to make films in.")]
    | Annotated[Sign, subcommand("sign", description="Write into a film how it was made, signed.")]
    | Annotated[Inspect, subcommand("inspect", description="How a film was made, and whether to believe it.")]
    | Annotated[Serve, subcommand("serve", description="Serve the OpenAI Videos API.")]
    | Annotated[Worker, subcommand("work", description="Make films for a server: one worker more.")]
    | Annotated[Dataset, subcommand("world", description="The simulated film set.")]
    | Annotated[Train, subcommand("train", description="Train models of our own.")]
    | Annotated[Evaluate, subcommand("evaluate", description="The scorecard: the known faults, measured.")]
    | Annotated[Bench, subcommand("bench", description="Measure against peers, as ratios.")]
)


def main(arguments: list[str] | None = None) -> None:
    """Run one command. Exits with 2 and one line when the person can put something right."""
    command: Command = tyro.cli(
        AnyCommand,
        prog="kinema",
        description="Films from words.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    try:
        command.run()
    except UserError as error:
        print(f"kinema: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("kinema: stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`kinema ... | head`): that is its right, and no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
