"""The command `kinema`: one file per family of subcommands, each a tree of typed dataclasses.

The fields of a dataclass are its options, and `run()` does the work. Heavy imports belong inside `run`, so
that `kinema --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Protocol

import tyro
from tyro.conf import subcommand

from kinema.cli.data import Data
from kinema.cli.dataset import Dataset
from kinema.cli.doctor import Doctor
from kinema.cli.estimate import Estimate
from kinema.cli.evaluate import Evaluate
from kinema.cli.generate import Generate
from kinema.cli.inspect import Inspect
from kinema.cli.jobs import Jobs
from kinema.cli.live import Live
from kinema.cli.mcp import Mcp
from kinema.cli.parse_errors import one_line_errors
from kinema.cli.serve import Serve, Worker
from kinema.cli.sign import Sign
from kinema.cli.studio import Studio
from kinema.cli.threads import configure_threads
from kinema.cli.train import Train
from kinema.cli.video_commands import EditVideo, ExtendVideo, InterpolateVideos, Reproduce, Resume
from kinema.errors import UserError


class Command(Protocol):
    """A subcommand."""

    def run(self) -> None:
        """Do the work.

        Raises:
            UserError: the user can correct something.
        """


AnyCommand = (
    Annotated[Generate, subcommand("generate", description="Generate a video from text and images.")]
    | Annotated[ExtendVideo, subcommand("extend", description="Continue a video, or generate its past.")]
    | Annotated[InterpolateVideos, subcommand("interpolate", description="Connect two videos.")]
    | Annotated[EditVideo, subcommand("edit", description="Change a video.")]
    | Annotated[Reproduce, subcommand("reproduce", description="Generate a video again from its file.")]
    | Annotated[Resume, subcommand("resume", description="Continue an interrupted generation.")]
    | Annotated[Estimate, subcommand("estimate", description="Estimate time and memory of a video.")]
    | Annotated[Doctor, subcommand("doctor", description="Show what this machine has and what to install.")]
    | Annotated[Studio, subcommand("studio", description="Open the web UI.")]
    | Annotated[Live, subcommand("live", description="Watch a video that never ends; steer it by prompts.")]
    | Annotated[Sign, subcommand("sign", description="Sign a video with content credentials (C2PA).")]
    | Annotated[Inspect, subcommand("inspect", description="Show and verify content credentials.")]
    | Annotated[Serve, subcommand("serve", description="Serve the OpenAI Videos API.")]
    | Annotated[Mcp, subcommand("mcp", description="Serve tools for agents (MCP) over stdio.")]
    | Annotated[Worker, subcommand("worker", description="Run an additional worker for a server.")]
    | Annotated[Jobs, subcommand("jobs", description="Inspect and repair the jobs of a server.")]
    | Annotated[Data, subcommand("data", description="Curate real videos: clips, captions, filters.")]
    | Annotated[Dataset, subcommand("dataset", description="Render simulated videos with captions.")]
    | Annotated[Train, subcommand("train", description="Train models.")]
    | Annotated[Evaluate, subcommand("evaluate", description="Score a model or a folder of videos.")]
)


def main(arguments: list[str] | None = None) -> None:
    """Run one command. Exits with 2 and one line when the user can correct something."""
    configure_threads()
    try:
        with one_line_errors(sys.argv[1:] if arguments is None else arguments, AnyCommand):
            command: Command = tyro.cli(
                AnyCommand,
                prog="kinema",
                description="Text-to-video: generation, simulated data, training, evaluation and serving.",
                args=arguments,
                config=(tyro.conf.OmitArgPrefixes,),
            )
        command.run()
    except UserError as error:
        print(f"kinema: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("kinema: stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of the output has ended (`kinema ... | head`), which is not an error. Without a new
        # stdout Python would report the broken pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
