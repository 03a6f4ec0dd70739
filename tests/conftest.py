"""Checks array shapes in every test: jaxtyping's annotations, by beartype, at each call.

The simulator is excluded: numba compiles plain functions only.
"""

import os
import tempfile

from hypothesis import settings
from jaxtyping import install_import_hook

TYPECHECKED_MODULES = [
    "shapes",
    "models",
    "sampling",
    "media",
    "pipeline",
    "data",
    "training",
    "evaluation",
]

install_import_hook([f"kinema.{name}" for name in TYPECHECKED_MODULES], "beartype.beartype")

# No deadlines: machines are shared, and the first example may compile.
settings.register_profile("kinema", deadline=None)
settings.load_profile("kinema")

# Tests neither read nor write the measurements of this machine in the user's cache folder.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="kinema-test-cache-")
