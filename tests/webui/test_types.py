"""The page's types name only what the API's own models have."""

import re
from pathlib import Path

import pytest

from kinema.pipeline.request import VideoRequest
from kinema.server.schemas import responses

TYPES = (Path(__file__).parents[2] / "webui" / "src" / "lib" / "types.ts").read_text(encoding="utf-8")


def fields_of(interface):
    body = re.search(rf"export interface {interface} \{{\n(.*?)\n\}}", TYPES, re.DOTALL)[1]
    return set(re.findall(r"^  (\w+)\??:", body, re.MULTILINE))


@pytest.mark.parametrize(
    ("interface", "model"),
    [
        ("Video", responses.VideoObject),
        ("KinemaInfo", responses.KinemaInfo),
        ("VideoPage", responses.VideoList),
        ("ModelInfo", responses.ModelCapabilities),
        ("Vocabulary", responses.VocabularyObject),
        ("Estimate", responses.CostEstimateObject),
        ("VideoCheck", responses.VideoCheck),
        ("Source", responses.VideoSource),
    ],
)
def test_fields_are_those_of_the_api(interface, model):
    assert fields_of(interface) <= set(model.model_fields)


def test_settings_are_fields_of_the_request():
    assert fields_of("RequestSettings") <= set(VideoRequest.__dataclass_fields__)
