"""The LoRAs of a request: found, checked against the model, and applied to its transformers.

A LoRA is a file, a folder, or a name that the caller of the pipeline has registered. Float weights are
merged, int8 and quantised weights keep the change beside them (see `kinema.models.lora.apply`). Which of the
two depends on the type of the weights alone, so a request gives the same video however much memory there is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.errors import UserError, did_you_mean
from kinema.models.formats.loader import ModelCheckpoint
from kinema.models.lora.apply import apply_loras
from kinema.models.lora.match import LoraMatch, match_lora
from kinema.models.lora.reader import LoraFile, open_lora
from kinema.models.transformer.dit import Dit
from kinema.pipeline.components import ModelComponents, prepare_transformer
from kinema.pipeline.device import free_memory
from kinema.pipeline.lazy_module import LazyModule, empty_cache
from kinema.pipeline.memory_policy import weight_bytes
from kinema.pipeline.request import Lora

_MAX_COPY_SHARE = 0.5
"""Share of the free memory that merged copies of weights may use."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ResolvedLora:
    """A LoRA of a request with its files.

    Attributes:
        lora: as requested.
        matches: its file and the model; two for a pair of files for high and low noise.
        strengths: of each expert.
        sha256: of the file; of both digests for a pair.
    """

    lora: Lora
    matches: tuple[LoraMatch, ...]
    strengths: tuple[float, ...]
    sha256: str

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the files is not used, a line for each file."""
        return tuple(match.note for match in self.matches if match.note)


def parse_lora(text: str) -> Lora:
    """Parse `FILE`, `FILE:strength` or `FILE:strength:strength of the low-noise expert`.

    Raises:
        UserError: there is no file, or a strength is out of range.
    """
    file, strengths = text, []
    while len(strengths) < 2:
        rest, colon, last = file.rpartition(":")
        try:
            number = float(last)
        except ValueError:
            break
        if not colon or not rest:
            break
        file = rest
        strengths.insert(0, number)
    if not file:
        raise UserError(
            f"{text!r} is not a LoRA; write FILE or FILE:strength, for example style.safetensors:0.8"
        )
    if not strengths:
        return Lora(file=file)
    return Lora(
        file=file, strength=strengths[0], low_noise_strength=strengths[1] if len(strengths) > 1 else None
    )


def open_lora_files(path: str | os.PathLike[str]) -> tuple[LoraFile, ...]:
    """The file of a path, or the one file or the pair for high and low noise in a folder.

    Raises:
        UserError: there is none, or a folder has several.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        return (open_lora(path),)
    files = [open_lora(file) for file in sorted(path.glob("*.safetensors"))]
    if len(files) == 1 or sorted(-1 if file.expert is None else file.expert for file in files) == [0, 1]:
        return tuple(sorted(files, key=lambda file: file.expert or 0))
    if not files:
        raise UserError(f"{path} has no .safetensors file; give the LoRA's file")
    names = ", ".join(file.path.name for file in files[:3])
    raise UserError(
        f"{path} has {len(files)} files ({names}); give one of them, or a folder with one file or with a "
        "pair named high_noise and low_noise"
    )


def lora_sha256(files: Sequence[LoraFile]) -> str:
    """The digest of a file, or the digest of the digests of a pair."""
    if len(files) == 1:
        return files[0].sha256
    return hashlib.sha256(b"".join(bytes.fromhex(file.sha256) for file in files)).hexdigest()


def resolve_loras(
    model: ModelCheckpoint, loras: Sequence[Lora], registered: Mapping[str, Path]
) -> tuple[ResolvedLora, ...]:
    """Find the files of LoRAs and check that they fit the model; their tensors are not read yet.

    Args:
        model: the model.
        loras: of a request, in the order in which they are applied.
        registered: paths by name. A name is preferred to a file of the same name.

    Raises:
        UserError: a file is missing, damaged, or made for another model.
    """
    experts = model.sampling_defaults.num_experts
    resolved = []
    for lora in loras:
        text = os.fspath(lora.file)
        path = registered.get(text, Path(text).expanduser())
        if not path.exists() and registered:
            hint = did_you_mean(text, registered)
            raise UserError(
                f"there is no LoRA {text!r}{hint}; give a file, or one of {', '.join(registered)}"
            )
        files = open_lora_files(path)
        matches = tuple(
            match_lora(file, model.dit, num_experts=experts, model_name=Path(model.name).name)
            for file in files
        )
        low = lora.strength if lora.low_noise_strength is None else lora.low_noise_strength
        if lora.low_noise_strength is not None and experts == 1:
            raise UserError(f"{model.name} has one transformer; give the LoRA {text} one strength")
        resolved.append(
            ResolvedLora(
                lora=lora,
                matches=matches,
                strengths=(lora.strength, low)[:experts],
                sha256=lora_sha256(files),
            )
        )
    return tuple(resolved)


def find_moved(lora: Lora, sha256: str, places: Sequence[Path]) -> Lora | None:
    """The LoRA at the first place that holds the same file, or None.

    Args:
        lora: of a video's metadata.
        sha256: its digest there.
        places: files and folders that may exist.
    """
    for place in places:
        try:
            same = place.exists() and lora_sha256(open_lora_files(place)) == sha256
        except UserError:
            continue
        if same:
            return dataclasses.replace(lora, file=place)
    return None


class LoraTransformers:
    """A model's transformers with the LoRAs of the last request that had some.

    They are kept for the next request with the same LoRAs. The base weights are shared with them, and never
    written to. Where merged copies do not fit into memory next to the base, the base is loaded anew instead.

    Args:
        components: the model without LoRAs.
    """

    def __init__(self, components: ModelComponents) -> None:
        self._components = components
        self._key: tuple[object, ...] = ()
        self._current: ModelComponents | None = None
        self._replaces_base = False

    def components(self, loras: Sequence[ResolvedLora]) -> ModelComponents:
        """The model with these LoRAs; without any, the model itself."""
        key = tuple((lora.sha256, lora.strengths) for lora in loras)
        if not loras:
            if self._replaces_base:
                self._drop()
            return self._components
        if self._current is None or key != self._key:
            self._drop()
            self._replaces_base = self._needs_base_memory()
            self._key = key
            self._current = dataclasses.replace(
                self._components,
                transformers=tuple(
                    LazyModule(
                        lambda expert=expert: self._load(tuple(loras), expert),
                        keep_loaded=self._components.policy.keep_loaded,
                        prepare=prepare_transformer(
                            self._components.policy, self._components.device, self._components.execution
                        ),
                    )
                    for expert in range(len(self._components.transformers))
                ),
            )
        return self._current

    def _drop(self) -> None:
        if self._current is not None:
            self._current, self._key, self._replaces_base = None, (), False
            empty_cache()

    def _needs_base_memory(self) -> bool:
        """Whether merged copies of the transformers do not fit next to the transformers themselves."""
        policy, components = self._components.policy, self._components
        if not policy.keep_loaded or policy.offload_blocks or policy.shards > 1:
            return True
        if policy.has_eight_bits:
            return False
        sizes = weight_bytes(components.model, policy.dtype, int8=False)
        copies = sum(size for name, size in sizes.items() if name.startswith("transformer"))
        return copies > _MAX_COPY_SHARE * free_memory(components.device)

    def _load(self, loras: Sequence[ResolvedLora], expert: int) -> Dit:
        base = self._components.transformers[expert]
        applied = [(match, lora.strengths[expert]) for lora in loras for match in lora.matches]
        merge = not self._components.policy.has_eight_bits
        if not self._replaces_base:
            return apply_loras(base.get(), applied, expert=expert, merge=merge)
        base.drop()
        return apply_loras(base.load(), applied, expert=expert, merge=merge, in_place=True)
