"""The OpenAI Models API: the served model under each of its names."""

from __future__ import annotations

import dataclasses

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from kinema.pipeline.unknown_words import EXAMPLE_PROMPTS
from kinema.server.dependencies import AppState
from kinema.server.errors import not_found
from kinema.server.model_info import ModelInfo
from kinema.server.schemas.responses import (
    ModelCapabilities,
    ModelList,
    ModelObject,
    VocabularyObject,
)
from kinema.server.settings import Limits
from kinema.server.video_format import MODEL_ALIASES, example_sizes, max_pixels


def router(state: AppState) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(prefix="/v1/models", tags=["models"])

    async def find_model(model: str) -> ModelInfo:
        model_info = await state.get_model_info()
        names = (model_info.name, *MODEL_ALIASES)
        if model not in names:
            raise not_found(
                f"There is no model {model[:100]!r}; available: {', '.join(names)}.", param="model"
            )
        return model_info

    @routes.get("", response_model=ModelList)
    async def models() -> JSONResponse:
        """The served model under each of its names."""
        model_info = await state.get_model_info()
        names = (model_info.name, *MODEL_ALIASES)
        listed = [to_model_object(model_info, state.settings.limits, name) for name in names]
        return JSONResponse(ModelList(object="list", data=listed).model_dump())

    @routes.get("/{model}", response_model=ModelObject)
    async def model(model: str) -> JSONResponse:
        """The served model under one of its names."""
        model_info = await find_model(model)
        return JSONResponse(to_model_object(model_info, state.settings.limits, model).model_dump())

    @routes.get("/{model}/vocabulary", response_model=VocabularyObject)
    async def vocabulary(model: str) -> JSONResponse:
        """The words that the model was trained on, and prompts that it follows."""
        words = list((await find_model(model)).vocabulary) or None
        known = VocabularyObject(words=words, examples=list(EXAMPLE_PROMPTS))
        return JSONResponse(known.model_dump())

    return routes


def to_model_object(model_info: ModelInfo, limits: Limits, name: str) -> ModelObject:
    """The served model under a name."""
    values = dataclasses.asdict(model_info)
    for internal in ("vocabulary", "rewrites_prompts"):
        values.pop(internal)
    return ModelObject(
        id=name,
        object="model",
        created=0,
        owned_by="kinema",
        kinema=ModelCapabilities(
            **values,
            max_seconds=min(limits.max_seconds, limits.max_frames / model_info.fps),
            max_frames=limits.max_frames,
            max_pixels=max_pixels(model_info, limits),
            sizes=list(example_sizes(model_info)),
        ),
    )
