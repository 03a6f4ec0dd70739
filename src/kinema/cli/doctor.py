"""`kinema doctor`: what this machine has, what Kinema chooses on it, and what to install."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_PACKAGES = (
    ("gguf", "pip install 'kinema[gguf]'", "GGUF files"),
    ("fastapi", "pip install 'kinema[serve]'", "kinema serve and kinema studio"),
    ("c2pa", "pip install 'kinema[provenance]'", "content credentials"),
    ("scenedetect", "pip install 'kinema[data]'", "kinema data"),
)
"""Module, how it is installed, what it is for."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """Something that a machine may have.

    Attributes:
        name: of a back end or package.
        available: whether it can be used here.
        note: why not and what to do, or what it is for.
    """

    name: str
    available: bool
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class MachineReport:
    """What a machine has, and what is chosen on it; memory in bytes."""

    kinema: str
    torch: str
    python: str
    cpu: str
    cpu_cores: int
    cpu_features: tuple[str, ...]
    free_memory: int
    gpus: tuple[dict[str, Any], ...]
    device: str
    dtype: str
    attention: str
    attention_reason: str
    attention_backends: tuple[Option, ...] = field(default=())
    number_formats: tuple[Option, ...] = field(default=())
    packages: tuple[Option, ...] = field(default=())


def examine_machine() -> MachineReport:
    """Examine this machine; nothing is downloaded or changed."""
    import importlib.util
    import os
    import platform
    from typing import get_args

    import torch

    from kinema._version import __version__
    from kinema.models.transformer.attention import (
        AttentionBackend,
        choose_attention_backend,
        missing_backend_reason,
    )
    from kinema.pipeline.device import free_memory, resolve_device
    from kinema.pipeline.machine_cache import processor_name

    device = resolve_device("auto")
    chosen, reason = choose_attention_backend("auto", device)
    missing = {backend: missing_backend_reason(backend, device) for backend in get_args(AttentionBackend)}
    return MachineReport(
        kinema=__version__,
        torch=torch.__version__,
        python=platform.python_version(),
        cpu=processor_name(),
        cpu_cores=os.cpu_count() or 1,
        cpu_features=_cpu_features(),
        free_memory=free_memory(torch.device("cpu")),
        gpus=tuple(_describe_gpu(index) for index in range(torch.cuda.device_count())),
        device=str(device),
        dtype="bfloat16" if device.type == "cuda" else "float32",
        attention=chosen,
        attention_reason=reason,
        attention_backends=tuple(
            Option(name=name, available=note is None, note=note or "") for name, note in missing.items()
        ),
        number_formats=_number_formats(device),
        packages=tuple(
            Option(
                name=module,
                available=importlib.util.find_spec(module) is not None,
                note=purpose if importlib.util.find_spec(module) is not None else f"for {purpose}: {install}",
            )
            for module, install, purpose in _PACKAGES
        ),
    )


def _describe_gpu(index: int) -> dict[str, Any]:
    import torch

    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    return {
        "name": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "memory": total,
        "free_memory": free,
    }


def _cpu_features() -> tuple[str, ...]:
    import torch

    features = {
        "AVX2": torch.cpu._is_avx2_supported(),
        "AVX-512": torch.cpu._is_avx512_supported(),
        "VNNI": torch.cpu._is_vnni_supported(),
        "bfloat16": torch.cpu._is_avx512_bf16_supported(),
        "AMX": torch.cpu._is_amx_tile_supported(),
    }
    return tuple(name for name, supported in features.items() if supported)


def _number_formats(device: torch.device) -> tuple[Option, ...]:
    import torch

    if device.type != "cuda":
        return (
            Option(name="int8", available=True, note="--dtype int8"),
            Option(name="fp8", available=False, note="products in fp8 need an NVIDIA GPU of 8.9 or more"),
        )
    fast = torch.cuda.get_device_capability(device) >= (8, 9)
    note = "" if fast else "products in fp8 need compute capability 8.9 or more (Ada, Hopper); use bfloat16"
    return (
        Option(name="bfloat16", available=torch.cuda.is_bf16_supported()),
        Option(name="fp8", available=fast, note=note),
    )


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Show what this machine has, what Kinema chooses on it and why, and what to install."""

    json: bool = False
    """Print one JSON object."""

    def run(self) -> None:
        """Examine the machine and print the report."""
        report = examine_machine()
        if self.json:
            print(json.dumps(asdict(report), indent=2))
        else:
            print("\n".join(_lines(report)))


def _lines(report: MachineReport) -> list[str]:
    lines = [
        f"kinema {report.kinema}, torch {report.torch}, Python {report.python}",
        f"CPU: {report.cpu}, {report.cpu_cores} cores, {', '.join(report.cpu_features) or 'no AVX2'}, "
        f"{report.free_memory / 2**30:.1f} GiB free",
    ]
    lines += [
        f"GPU: {gpu['name']}, compute capability {gpu['compute_capability']}, "
        f"{gpu['free_memory'] / 2**30:.1f} of {gpu['memory'] / 2**30:.1f} GiB free"
        for gpu in report.gpus
    ] or ["GPU: none that torch can use"]
    lines += [
        f"chosen: {report.dtype} on {report.device}, attention {report.attention}: {report.attention_reason}",
    ]
    for title, options in (
        ("attention", report.attention_backends),
        ("number formats", report.number_formats),
        ("packages", report.packages),
    ):
        lines += ["", f"{title}:"]
        for option in options:
            line = f"  {'yes' if option.available else 'no ':3}  {option.name:13} {option.note}"
            lines.append(line.rstrip())
    return lines
