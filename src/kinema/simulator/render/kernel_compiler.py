"""Compiles the kernel functions for a backend, in single precision."""

from __future__ import annotations

import hashlib
import types
from collections.abc import Callable
from types import FunctionType, ModuleType

import numpy as np

from kinema.simulator.render.kernels import camera_pass, env_light, intersect, shading, shadow, surface

KERNEL_MODULES: tuple[ModuleType, ...] = (intersect, surface, shadow, env_light, shading, camera_pass)
"""In dependency order: each module calls only functions of earlier ones."""


def to_float32(value: object) -> object:
    """Convert a Python float to float32; other values are unchanged."""
    return np.float32(value) if type(value) is float else value


def narrow_literals(function: FunctionType, namespace: dict[str, object]) -> FunctionType:
    """Copy a function with float32 literals and `namespace` as its globals.

    Numba types a Python literal as float64, and one float64 in a sum makes the whole sum float64.
    """
    code = function.__code__
    code = code.replace(co_consts=tuple(map(to_float32, code.co_consts)))
    twin = types.FunctionType(code, namespace, function.__name__, function.__defaults__)
    twin.__module__ = function.__module__
    twin.__qualname__ = function.__qualname__
    twin.__doc__ = function.__doc__
    return twin


def compile_kernels(compile_one: Callable[[FunctionType], object]) -> dict[str, object]:
    """Compile every kernel function. Compiled functions call each other.

    Args:
        compile_one: the compiler, for example `numba.njit` or `numba.cuda.jit(device=True)`.
    """
    twins: dict[object, object] = {}
    named: dict[str, object] = {}
    for module in KERNEL_MODULES:
        namespace: dict[str, object] = {}
        for name, value in vars(module).items():
            known = isinstance(value, FunctionType) and value in twins
            namespace[name] = twins[value] if known else to_float32(value)
        for name, value in vars(module).items():
            if isinstance(value, FunctionType) and value.__module__ == module.__name__:
                twins[value] = namespace[name] = named[name] = compile_one(narrow_literals(value, namespace))
    return named


def source_hash(*extra_modules: ModuleType) -> str:
    """A short hash of the kernels' source. It is part of the cache key of compiled code."""
    digest = hashlib.sha256()
    for module in (*KERNEL_MODULES, *extra_modules):
        for name, value in sorted(vars(module).items()):
            if isinstance(value, FunctionType):
                code = value.__code__
                constants = [c for c in code.co_consts if not isinstance(c, types.CodeType)]
                digest.update(repr((name, code.co_code, constants, code.co_names, code.co_varnames)).encode())
            elif isinstance(value, (int, float)):
                digest.update(repr((name, value)).encode())
    return digest.hexdigest()[:16]
