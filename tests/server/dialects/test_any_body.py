"""Any body is parsed, or refused with the name of a parameter.

This module starts no server: its workers use `random`, which hypothesis watches.
"""

from __future__ import annotations

import base64

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinema.server.dialects.self_hosted import parse_create
from kinema.server.errors import ApiError
from kinema.server.schemas.requests import CreateVideoRequest, ExtendRequest
from tests.fixtures import server

IMAGE_URL = "data:image/png;base64," + base64.b64encode(server.image_bytes(40, 30)).decode()
NAMES = st.sampled_from(
    [*CreateVideoRequest.model_fields, *ExtendRequest.model_fields, "width", "height", "n", "lora", "user",
     "extra_params", "video_params", "extra_body", "image_reference", "video_reference", "generate_sound"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5000) | st.floats() | st.text(max_size=20) | st.just("64")
    | st.just(IMAGE_URL),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=9) | NAMES, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMES, VALUES, max_size=6), st.booleans())
def test_any_body_is_parsed_or_refused_with_a_parameter(fields, strict):
    error = None
    try:
        parsed = parse_create({"prompt": "x", **fields}, strict=strict)
        assert not (strict and parsed.ignored)
    except ApiError as caught:
        error = caught
    assert error is None or (error.status == 400 and error.param)
