"""Client of a Kinema server, synchronous and asynchronous.

    from kinema.client import Client, Create

    with Client("http://127.0.0.1:8000") as client:
        video = client.create(Create(prompt="a red ball rolls to the left"))
        for video in client.follow(video.id):
            print(video.status, video.progress)
        client.download(video.id, "video.mp4")

It needs httpx (`pip install 'kinema[client]'`) and nothing else: neither torch nor the server's packages.
"""

from __future__ import annotations

from kinema.client.async_client import AsyncClient
from kinema.client.errors import ClientError
from kinema.client.sync_client import Client
from kinema.client.types import (
    CostEstimate,
    Create,
    Edit,
    Extend,
    Interpolate,
    Keyframe,
    Lora,
    Model,
    Options,
    Page,
    Remix,
    Shot,
    Source,
    Video,
    VideoFailure,
)

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "CostEstimate",
    "Create",
    "Edit",
    "Extend",
    "Interpolate",
    "Keyframe",
    "Lora",
    "Model",
    "Options",
    "Page",
    "Remix",
    "Shot",
    "Source",
    "Video",
    "VideoFailure",
]
