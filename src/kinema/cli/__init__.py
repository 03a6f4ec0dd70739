"""The command `kinema`: one file per family of subcommands, each a tree of typed dataclasses.

The fields of a dataclass are its options, and `run()` does the work. Only the command that is run is
imported; heavy imports belong inside `run`, so that `kinema --help` answers at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated, Any, Protocol, Union

import tyro
from tyro.conf import subcommand

from kinema.cli.parse_errors import one_line_errors
from kinema.cli.threads import configure_threads
from kinema.errors import UserError


class Command(Protocol):
    """A subcommand."""

    def run(self) -> None:
        """Do the work.

        Raises:
            UserError: the user can correct something.
        """


COMMANDS = {
    "generate": ("generate.Generate", "Generate a video from text and images."),
    "extend": ("video_commands.ExtendVideo", "Continue a video, or generate its past."),
    "interpolate": ("video_commands.InterpolateVideos", "Connect two videos."),
    "edit": ("video_commands.EditVideo", "Change a video."),
    "reproduce": ("video_commands.Reproduce", "Generate a video again from its file."),
    "resume": ("video_commands.Resume", "Continue an interrupted generation."),
    "estimate": ("estimate.Estimate", "Estimate time and memory of a video."),
    "doctor": ("doctor.Doctor", "Show what this machine has and what to install."),
    "studio": ("studio.Studio", "Open the web UI."),
    "live": ("live.Live", "Watch a video that never ends; steer it by prompts."),
    "sign": ("sign.Sign", "Sign a video with content credentials (C2PA)."),
    "inspect": ("inspect.Inspect", "Show and verify content credentials."),
    "serve": ("serve.Serve", "Serve the OpenAI Videos API."),
    "mcp": ("mcp.Mcp", "Serve tools for agents (MCP) over stdio."),
    "worker": ("serve.Worker", "Run an additional worker for a server."),
    "jobs": ("jobs.Jobs", "Inspect and repair the jobs of a server."),
    "data": ("data.Data", "Curate real videos: clips, captions, filters."),
    "dataset": ("dataset.Dataset", "Render simulated videos with captions."),
    "train": ("train.Train", "Train models."),
    "evaluate": ("evaluate.Evaluate", "Score a model or a folder of videos."),
}
"""Name -> module and class below this package, and what the command does."""


def load_command(name: str) -> Any:
    """Import the dataclass of a command."""
    module, _, member = COMMANDS[name][0].partition(".")
    return getattr(importlib.import_module(f"kinema.cli.{module}"), member)


def load_all_commands() -> Any:
    """Import every command: a union of `Annotated[dataclass, subcommand(name)]`."""
    # The types are known at runtime only, which a type checker does not accept in the two forms.
    annotated: Any = Annotated
    union: Any = Union
    return union[
        tuple(
            annotated[load_command(name), subcommand(name, description=description)]
            for name, (_, description) in COMMANDS.items()
        )
    ]


def parse_command(arguments: list[str]) -> Command:
    """Parse the arguments of `kinema`.

    Raises:
        UserError: there is no such command or option, or a value is not allowed.
        SystemExit: help was printed.
    """
    prog, name = "kinema", arguments[0] if arguments else ""
    description = "Text-to-video: generation, simulated data, training, evaluation and serving."
    with one_line_errors(arguments, load_all_commands):
        if name in COMMANDS:
            prog, arguments = f"kinema {name}", arguments[1:]
            known, description = load_command(name), COMMANDS[name][1]
        else:
            known = load_all_commands()
        return tyro.cli(
            known, prog=prog, description=description, args=arguments, config=(tyro.conf.OmitArgPrefixes,)
        )


def main(arguments: list[str] | None = None) -> None:
    """Run one command. Exits with 2 and one line when the user can correct something."""
    configure_threads()
    try:
        parse_command(sys.argv[1:] if arguments is None else arguments).run()
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
