"""The OpenAI Models API: the served model under each of its names."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from kinema.server.dependencies import AppState
from kinema.server.errors import not_found
from kinema.server.model_info import ModelInfo
from kinema.server.schemas.responses import ModelList, ModelObject
from kinema.server.video_format import MODEL_ALIASES


def router(state: AppState) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(prefix="/v1/models", tags=["models"])

    @routes.get("", response_model=ModelList)
    async def models() -> JSONResponse:
        """The served model under each of its names."""
        model_info = await state.get_model_info()
        names = (model_info.name, *MODEL_ALIASES)
        models = ModelList(object="list", data=[_to_model_object(model_info, name) for name in names])
        return JSONResponse(models.model_dump())

    @routes.get("/{model}", response_model=ModelObject)
    async def model(model: str) -> JSONResponse:
        """The served model under one of its names."""
        model_info = await state.get_model_info()
        names = (model_info.name, *MODEL_ALIASES)
        if model not in names:
            raise not_found(f"There is no model {model[:100]!r}; available: {', '.join(names)}.")
        return JSONResponse(_to_model_object(model_info, model).model_dump())

    return routes


def _to_model_object(model_info: ModelInfo, name: str) -> ModelObject:
    return ModelObject(id=name, object="model", created=0, owned_by="kinema", kinema=model_info)
