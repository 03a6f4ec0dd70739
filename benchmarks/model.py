"""The table of the models against diffusers, one fresh process for each row.

A row leaves nothing behind: no warm allocator, no loaded library, no memory. Rows are kept in a JSON file as
they come, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from benchmarks import model_dit, model_pipeline, model_vae
from benchmarks.harness import BenchRow, run_subprocess
from kinema.atomic_io import write_text
from kinema.errors import UserError

RowName = Literal[
    "vae21-decode", "vae21-encode", "vae22-decode", "vae22-decode-256", "condition", "stream-memory",
    "text", "solver", "guidance-1280", "guidance-4096", "causal-cache", "pipeline", "pipeline-memory",
    "import", "load",
]  # fmt: skip
ROW_NAMES: tuple[RowName, ...] = get_args(RowName)

_ROW_SCRIPT = """
import sys, warnings
warnings.simplefilter("ignore")
from benchmarks.model import main
main(*sys.argv[1:])
"""


@dataclass(frozen=True, kw_only=True)
class ResultsFile:
    """Rows on disk, by name.

    Attributes:
        path: a JSON file; it need not exist. None keeps nothing.
    """

    path: Path | None

    def load(self) -> dict[str, BenchRow]:
        """All that is kept.

        Raises:
            UserError: the file is not one of ours.
        """
        if self.path is None or not self.path.exists():
            return {}
        try:
            return {name: BenchRow(**values) for name, values in json.loads(self.path.read_text()).items()}
        except (ValueError, TypeError, AttributeError):
            raise UserError(
                f"{self.path} is no table of `kinema bench model`; remove it or give another file"
            ) from None

    def save_row(self, name: RowName, row: BenchRow) -> None:
        """Write the row beside the others.

        Raises:
            UserError: the file can't be written.
        """
        if self.path is not None:
            rows = {**self.load(), name: row}
            table = {name: dataclasses.asdict(row) for name, row in rows.items()}
            write_text(self.path, json.dumps(table, indent=2) + "\n")


def measure_rows(
    names: tuple[RowName, ...], *, rounds: int, threads: int, results: ResultsFile
) -> Iterator[BenchRow]:
    """The rows of these names in order, as they come; those that `results` has are not measured again.

    Raises:
        RuntimeError: a row's process failed.
    """
    kept = results.load()
    for name in names:
        row = kept.get(name)
        if row is None:
            printed = run_subprocess(_ROW_SCRIPT, name, str(rounds), str(threads)).stdout
            row = BenchRow(**json.loads(printed.splitlines()[-1]))
            results.save_row(name, row)
        yield row


def main(name: str, rounds: str, threads: str) -> None:
    """Measure one row and print it as the last line."""
    torch.set_num_threads(int(threads))
    row = _find_measurement(name)(int(rounds))
    print(json.dumps(dataclasses.asdict(row)))


def _find_measurement(name: str) -> Callable[[int], BenchRow]:
    match name:
        case "vae21-decode":
            return model_vae.decode_21
        case "vae21-encode":
            return model_vae.encode_21
        case "vae22-decode":
            return model_vae.decode_22
        case "vae22-decode-256":
            return model_vae.decode_22_base_64
        case "condition":
            return model_vae.encode_image_condition
        case "stream-memory":
            return model_vae.streaming_memory
        case "text":
            return model_dit.text_encoder
        case "solver":
            return model_dit.solver
        case "guidance-1280":
            return model_dit.guidance_1280
        case "guidance-4096":
            return model_dit.guidance_4096
        case "causal-cache":
            return model_dit.causal_cache
        case "pipeline":
            return model_pipeline.end_to_end
        case "pipeline-memory":
            return model_pipeline.peak_memory
        case "import":
            return model_pipeline.import_time
        case "load":
            return model_pipeline.load_time
    raise ValueError(f"there is no row {name!r}")
