"""Loading a transformer from a GGUF file against diffusers: CPU seconds and new memory."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import BenchRow, ProcessUsage, run_subprocess

_LOAD_OURS = """
import sys, time, warnings
warnings.simplefilter("ignore")
import torch
import gguf
from benchmarks.model_gguf import anonymous_mib
from kinema.models.formats.loader import open_model
before, start = anonymous_mib(), time.process_time()
model = open_model(sys.argv[1], vae=sys.argv[2], text_encoder=sys.argv[2])
module = model.load_transformer(dtype=torch.bfloat16, device=torch.device("cpu"), keep_packed=True)
print(time.process_time() - start, anonymous_mib() - before)
"""
_LOAD_THEIRS = """
import sys, time, warnings
warnings.simplefilter("ignore")
import torch
import gguf
from benchmarks.model_gguf import anonymous_mib
from diffusers import GGUFQuantizationConfig, WanTransformer3DModel
before, start = anonymous_mib(), time.process_time()
module = WanTransformer3DModel.from_single_file(
    sys.argv[1], config=sys.argv[2], subfolder="transformer", torch_dtype=torch.bfloat16,
    quantization_config=GGUFQuantizationConfig(compute_dtype=torch.bfloat16))
print(time.process_time() - start, anonymous_mib() - before)
"""


def anonymous_mib() -> float:
    """Resident memory of this process that no file backs, in MiB; 0 where Linux does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 2**10


def load_time(rounds: int) -> BenchRow:
    """Load the transformer, in fresh processes in alternating order."""
    with tempfile.TemporaryDirectory(prefix="kinema-bench-") as root:
        file, folder = _save_file(Path(root), width=1024, layers=24)
        values: dict[str, list[list[float]]] = {_LOAD_OURS: [], _LOAD_THEIRS: []}
        for round_index in range(rounds):
            order = [_LOAD_OURS, _LOAD_THEIRS]
            for code in order if round_index % 2 == 0 else order[::-1]:
                usage: ProcessUsage = run_subprocess(code, str(file), str(folder))
                values[code].append([float(value) for value in usage.stdout.split()[-2:]])
        size = file.stat().st_size / 2**20
    ours, theirs = values[_LOAD_OURS], values[_LOAD_THEIRS]
    return BenchRow(
        label="load a GGUF file of 400M parameters, Q8_0",
        ours=statistics.median(own[0] for own in ours),
        theirs=statistics.median(own[0] for own in theirs),
        ratio=statistics.median(a[0] / b[0] for a, b in zip(ours, theirs, strict=True)),
        at_most=0.30,
        note=f"new memory {ours[0][1]:.0f} MiB against {theirs[0][1]:.0f}; the file has {size:.0f} MiB",
    )


def _save_file(root: Path, *, width: int, layers: int) -> tuple[Path, Path]:
    """A GGUF file with random weights, and a folder of diffusers with its other parts."""
    import gguf
    import numpy as np

    from benchmarks.model_pipeline import save_checkpoint
    from kinema.models.formats.wan_keys import to_original_transformer_key

    # Files carry no head count: all published ones have heads of 128 channels.
    folder = save_checkpoint(root / "folder", width=width, layers=layers, text_layers=1, head_width=128)
    import diffusers as untyped

    diffusers: Any = untyped
    model = diffusers.WanTransformer3DModel.from_pretrained(folder, subfolder="transformer")
    file = root / "wan-Q8_0.gguf"
    writer = gguf.GGUFWriter(file, "wan")
    kind = gguf.GGMLQuantizationType.Q8_0
    for name, value in model.state_dict().items():
        array = value.float().numpy()
        original = to_original_transformer_key(name)
        if array.ndim == 2 and original.startswith("blocks."):
            writer.add_tensor(original, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(original, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file, folder
