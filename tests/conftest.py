"""Shapes are checked in every test: jaxtyping's annotations, by beartype, at each call.

The film set's compiled kernels are left out: numba has to see plain functions.
"""

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

# No test asserts on a time: machines are shared, and the first example may compile.
settings.register_profile("kinema", deadline=None)
settings.load_profile("kinema")
