"""Models and pipeline against diffusers: a table with one fresh process for each row.

A fresh process starts without a warm allocator or loaded libraries. Finished rows are kept in a JSON file, so
that an interrupted run continues.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from benchmarks import model_dit, model_gguf, model_pipeline, model_vae
from benchmarks.harness import BenchRow, run_subprocess
from kinema.atomic_io import write_text
from kinema.errors import UserError

RowName = Literal[
    "vae21-decode", "vae21-encode", "vae22-decode", "vae22-decode-256", "condition", "stream-memory",
    "text", "solver", "guidance-1280", "guidance-4096", "causal-cache", "pipeline", "pipeline-4-steps",
    "pipeline-memory",
    "import", "load", "load-gguf",
]  # fmt: skip
ROW_NAMES: tuple[RowName, ...] = get_args(RowName)
_MEASUREMENTS: dict[RowName, Callable[[int], BenchRow]] = {
    "vae21-decode": model_vae.decode_21,
    "vae21-encode": model_vae.encode_21,
    "vae22-decode": model_vae.decode_22,
    "vae22-decode-256": model_vae.decode_22_base_64,
    "condition": model_vae.encode_image_condition,
    "stream-memory": model_vae.streaming_memory,
    "text": model_dit.text_encoder,
    "solver": model_dit.solver,
    "guidance-1280": model_dit.guidance_1280,
    "guidance-4096": model_dit.guidance_4096,
    "causal-cache": model_dit.causal_cache,
    "pipeline": model_pipeline.end_to_end,
    "pipeline-4-steps": model_pipeline.distilled,
    "pipeline-memory": model_pipeline.peak_memory,
    "import": model_pipeline.import_time,
    "load": model_pipeline.load_time,
    "load-gguf": model_gguf.load_time,
}

_ROW_SCRIPT = """
import sys, warnings
warnings.simplefilter("ignore")
from benchmarks.model import measure_and_print
measure_and_print(*sys.argv[1:])
"""


@dataclass(frozen=True, kw_only=True)
class ResultsFile:
    """Finished rows on disk, by name.

    Attributes:
        path: a JSON file, which need not exist; None keeps nothing.
    """

    path: Path | None

    def load(self) -> dict[str, BenchRow]:
        """All rows of the file.

        Raises:
            UserError: the file is not a results file.
        """
        if self.path is None or not self.path.exists():
            return {}
        try:
            return {name: BenchRow(**values) for name, values in json.loads(self.path.read_text()).items()}
        except (ValueError, TypeError, AttributeError):
            raise UserError(
                f"{self.path} is not a results file of this benchmark; remove it or choose another file"
            ) from None

    def save_row(self, name: RowName, row: BenchRow) -> None:
        """Add a row to the file.

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
    """Yield the rows of these names in order; rows that `results` holds are not measured again.

    Raises:
        RuntimeError: the process of a row failed.
    """
    finished = results.load()
    for name in names:
        row = finished.get(name)
        if row is None:
            stdout = run_subprocess(_ROW_SCRIPT, name, str(rounds), str(threads)).stdout
            row = BenchRow(**json.loads(stdout.splitlines()[-1]))
            results.save_row(name, row)
        yield row


def measure_and_print(name: RowName, rounds: str, threads: str) -> None:
    """Measure one row and print it as JSON on the last line."""
    torch.set_num_threads(int(threads))
    row = _MEASUREMENTS[name](int(rounds))
    print(json.dumps(dataclasses.asdict(row)))
