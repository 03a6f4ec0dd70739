"""Bodies and answers of the live endpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from kinema.pipeline.request import check_text
from kinema.server.schemas.requests import GuidanceScale, Prompt, Size, StrictModel

Transition = Literal["cut", "blend"]
NegativePrompt = Annotated[str, StringConstraints(max_length=32_000), AfterValidator(check_text)]


class LiveCreateRequest(StrictModel):
    """A new live video."""

    prompt: Prompt
    negative_prompt: NegativePrompt | None = None
    size: Size | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    num_inference_steps: Annotated[int, Field(ge=1, le=200)] | None = Field(
        default=None, description="Solver steps of a block; without it as many as keep pace."
    )
    guidance_scale: GuidanceScale | None = None


class LiveChangeRequest(StrictModel):
    """A change of a live video; fields that are left out stay as they are."""

    prompt: Prompt | None = None
    transition: Transition = Field(
        default="cut", description="`cut` begins a new scene, `blend` goes on in the same one."
    )
    paused: bool | None = None
    frame: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Step back: a new branch goes on from this frame."
    )
    branch: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="The branch of `frame`; by default the current one."
    )


class LiveSaveRequest(StrictModel):
    """Which part of a live video to save; by default all of the current branch."""

    branch: Annotated[int, Field(ge=0)] | None = None
    first_frame: Annotated[int, Field(ge=0)] = 0
    num_frames: Annotated[int, Field(ge=1)] | None = None


class LiveShotObject(BaseModel):
    """A prompt of a branch."""

    seconds: float
    prompt: str
    transition: Transition


class LiveBranchObject(BaseModel):
    """One course of a live video."""

    branch: int
    frames: int
    shots: list[LiveShotObject]


class LiveError(BaseModel):
    """Why a live video ended."""

    code: str
    message: str


class LiveObject(BaseModel):
    """A live video; `frames`, `seconds` and `shots` are of the current branch."""

    id: str
    object: Literal["live"]
    status: Literal["waiting", "playing", "paused", "ended"]
    model: str
    created_at: int
    size: Annotated[str, Field(examples=["128x128"])]
    fps: float
    seed: int
    prompt: str
    branch: int
    frames: int
    seconds: float
    shots: list[LiveShotObject]
    branches: list[LiveBranchObject]
    num_inference_steps: int | None
    speed: float = Field(description="How many times real time the last blocks were made.")
    error: LiveError | None
    warnings: list[str]


class LiveList(BaseModel):
    """The caller's live videos that have not ended."""

    object: Literal["list"]
    data: list[LiveObject]
