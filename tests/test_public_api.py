"""The public API: names that users may rely on. A change here is a change of the version."""

import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import kinema

PUBLIC_API = [
    "ControlInput",
    "EditInput",
    "ExtendInput",
    "Finished",
    "FrameChunk",
    "GeneratedVideo",
    "InterpolateInput",
    "Keyframe",
    "Lora",
    "Pipeline",
    "SamplingStep",
    "Shot",
    "StageProgress",
    "UserError",
    "VideoRequest",
    "__version__",
    "load",
]
REQUEST_FIELDS = [
    "prompt",
    "negative_prompt",
    "size",
    "num_frames",
    "seconds",
    "fps",
    "num_inference_steps",
    "guidance_scale",
    "flow_shift",
    "seed",
    "image",
    "last_image",
    "keyframes",
    "storyboard",
    "loop",
    "source",
    "upscale",
    "loras",
    "recipe",
    "control",
    "references",
    "step_cache",
    "rewrite_prompt",
]
PIPELINE_METHODS = [
    "collect",
    "estimate",
    "generate",
    "generate_batch",
    "live",
    "load_lora",
    "metadata",
    "preload",
    "require_memory",
    "resolve",
    "save",
    "stream",
    "warnings",
]


def test_public_names():
    assert kinema.__all__ == PUBLIC_API
    assert all(getattr(kinema, name) is not None for name in PUBLIC_API)
    assert set(PUBLIC_API) <= set(dir(kinema))


def test_request_fields_are_the_keywords_of_generate():
    assert list(inspect.signature(kinema.VideoRequest).parameters) == REQUEST_FIELDS
    keywords = list(inspect.signature(kinema.Pipeline.generate).parameters)
    assert keywords == ["self", *REQUEST_FIELDS, "noise"]


def test_pipeline_methods():
    methods = [name for name, _ in inspect.getmembers(kinema.Pipeline, inspect.isfunction) if name[0] != "_"]
    assert methods == PIPELINE_METHODS


def test_import_is_light():
    code = "import sys, kinema; print(sorted({'torch', 'numpy', 'av', 'transformers'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_one_version():
    root = Path(__file__).parent.parent
    assert tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"] == kinema.__version__
    assert f"\nversion: {kinema.__version__}\n" in (root / "CITATION.cff").read_text()
    releases = re.findall(r"^## (\S+)", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[0] in ("Unreleased", kinema.__version__)
