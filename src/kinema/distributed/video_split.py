"""How several processes share one video: guidance, heads (Ulysses) and tokens (ring) are divided.

Each process runs the same pipeline on the same request and draws the same noise. Only the transformer and the
decoder work on parts and exchange them, so that all processes have the same latents and frames.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import torch
import torch.distributed as dist

from kinema.distributed.group import Group, Traffic
from kinema.distributed.sequence_parallel import SequenceGroups
from kinema.errors import UserError


@dataclass(frozen=True, kw_only=True)
class SplitDegrees:
    """Into how many parts each is divided; the product is the number of processes."""

    guidance: int = 1
    ulysses: int = 1
    ring: int = 1

    @property
    def num_processes(self) -> int:
        """Processes of this division."""
        return self.guidance * self.ulysses * self.ring


def parse_split(text: str, num_processes: int, heads: int) -> SplitDegrees | None:
    """Parse `auto` (None) or `guidance=2,ulysses=2,ring=1`; what is not named is 1.

    Raises:
        UserError: it has another form, or does not fit the processes or the model.
    """
    if text == "auto":
        return None
    values: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        if name not in ("guidance", "ulysses", "ring") or name in values or not number.isdecimal():
            raise UserError(f"{text!r} is not a split; give auto, or for example guidance=2,ulysses=2,ring=1")
        values[name] = int(number)
    degrees = SplitDegrees(**values)
    if degrees.guidance not in (1, 2):
        raise UserError(f"guidance has two parts, not {degrees.guidance}; give guidance=1 or guidance=2")
    if degrees.num_processes != num_processes:
        raise UserError(
            f"the split {text} is for {degrees.num_processes} processes and {num_processes} run; start "
            f"torchrun with --nproc-per-node {degrees.num_processes}, or give --split auto"
        )
    if heads % degrees.ulysses:
        fitting = ", ".join(str(n) for n in range(1, num_processes + 1) if not heads % n)
        raise UserError(
            f"the {heads} heads of this model can't be divided into {degrees.ulysses}; give ulysses={fitting}"
        )
    return degrees


def choose_split(num_processes: int, heads: int, *, uses_guidance: bool) -> SplitDegrees:
    """Guidance first, which exchanges least; then as many heads as can be divided; then a ring."""
    guidance = 2 if uses_guidance and num_processes % 2 == 0 else 1
    rest = num_processes // guidance
    ulysses = max(n for n in range(1, rest + 1) if rest % n == 0 and heads % n == 0)
    return SplitDegrees(guidance=guidance, ulysses=ulysses, ring=rest // ulysses)


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoSplit:
    """This process's place in a division.

    Attributes:
        guidance: the processes that have the same tokens of both predictions.
        sequence: the processes that share a sequence; None for one.
        rows: all processes, which share the rows of frames in the decoder.
    """

    guidance: Group
    sequence: SequenceGroups | None
    rows: Group


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoProcesses:
    """The processes that generate one video together.

    Attributes:
        rank: of this process, from 0.
        traffic: bytes that this process has sent.
    """

    rank: int
    traffic: Traffic = field(default_factory=Traffic)
    _splits: dict[bool, VideoSplit]

    @classmethod
    def join(cls, text: str, heads: int) -> VideoProcesses | None:
        """Make the process groups of a split; None where torch.distributed has one process or none.

        Every process calls it.

        Args:
            text: see `parse_split`.
            heads: of the transformer.

        Raises:
            UserError: the split does not fit.
        """
        is_group = dist.is_available() and dist.is_initialized()
        size, rank = (dist.get_world_size(), dist.get_rank()) if is_group else (1, 0)
        fixed = parse_split(text, size, heads)
        if size == 1:
            return None
        traffic = Traffic()
        splits: dict[bool, VideoSplit] = {}
        created: dict[SplitDegrees, VideoSplit] = {}
        for uses_guidance in (True, False):
            degrees = fixed or choose_split(size, heads, uses_guidance=uses_guidance)
            if degrees not in created:
                created[degrees] = _make_groups(degrees, rank, traffic)
            splits[uses_guidance] = created[degrees]
        return cls(rank=rank, traffic=traffic, _splits=splits)

    def split(self, *, uses_guidance: bool) -> VideoSplit:
        """The division of a request with or without guidance.

        Raises:
            UserError: guidance is divided, and the request has none.
        """
        split = self._splits[uses_guidance]
        if not uses_guidance and split.guidance.size > 1:
            raise UserError("guidance is off, so it can't be split; give --split auto, ulysses or ring")
        return split

    @property
    def rows(self) -> Group:
        """All processes."""
        return self._splits[True].rows


def _make_groups(degrees: SplitDegrees, rank: int, traffic: Traffic) -> VideoSplit:
    """Ranks count Ulysses first, then the ring, then guidance: neighbours exchange most."""
    sizes = (degrees.guidance, degrees.ring, degrees.ulysses)
    grid = torch.arange(degrees.num_processes).view(sizes)
    everyone = tuple(range(degrees.num_processes))

    def along(*axes: int) -> Group:
        """The group of this process in which the given axes vary; all processes make all groups."""
        others = [axis for axis in range(3) if axis not in axes]
        own = None
        for index in itertools.product(*(range(sizes[axis]) for axis in others)):
            where: list[int | slice] = [slice(None)] * 3
            for axis, value in zip(others, index, strict=True):
                where[axis] = value
            ranks = tuple(grid[tuple(where)].flatten().tolist())
            handle = dist.new_group(list(ranks)) if len(ranks) > 1 else None
            if rank in ranks:
                assert not isinstance(handle, int)
                own = Group(ranks=ranks, index=ranks.index(rank), handle=handle, traffic=traffic)
        assert own is not None
        return own

    has_sequence = math.prod(sizes[1:]) > 1
    sequence = SequenceGroups(ulysses=along(2), ring=along(1), whole=along(1, 2)) if has_sequence else None
    rows = Group(ranks=everyone, index=rank, handle=dist.group.WORLD, traffic=traffic)
    return VideoSplit(guidance=along(0), sequence=sequence, rows=rows)
