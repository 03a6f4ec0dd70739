"""The GPU's kernels in numba's CUDA simulator, which runs them thread by thread in plain Python."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kinema.errors import UserError
from kinema.simulator.render import gpu

SCRIPT = """
import warnings; warnings.simplefilter("ignore")
import numpy as np
from kinema.simulator.appearance.material import material
from kinema.simulator.render.camera import camera_row
from kinema.simulator.render.scene import Kind, Placed, Primitive, Scene
from kinema.simulator.render.tracer import render
ball = Primitive(kind=Kind.SPHERE, size=(0.8, 0, 0), material=0, occlusion=0.8)
thing = Placed(identity=4, primitives=(ball,), position=np.array([[0, 0, 0.8]]), rotation=np.eye(3)[None])
made = Scene(
    placed=(thing,),
    materials=material("plastic", "red")[None], sky="studio", sky_seed=0, floor="plain floor", floor_seed=0,
    cameras=np.stack([camera_row((x, -4, 1.2), (0, 0, 0.7), 40) for x in (0.0, 0.4)]),
)
one = render(made, 6, 8, samples=2, objects=True, depth=True, device="cuda")
two = render(made, 6, 8, samples=2, objects=True, depth=True)
assert 4 in one.identities
assert (one.identities == two.identities).mean() >= 0.99, (one.identities, two.identities)
far = np.abs(one.frames.astype(int) - two.frames).max(-1)
assert (far <= 1).mean() >= 0.99, far
near = np.isfinite(two.depth)
np.testing.assert_allclose(one.depth[near], two.depth[near], rtol=1e-3)
"""

# One frame of a clip of the film set, from the middle, where the event is.
CLIP = """
import dataclasses, sys, warnings; warnings.simplefilter("ignore")
import numpy as np
from kinema.simulator.clip import ClipSpec
from kinema.simulator.scene_sampler import drawn
from kinema.simulator.render_scene import scene_of, setting_of
from kinema.simulator.render.tracer import render
spec = ClipSpec(seed=100, event=sys.argv[1], height=18, width=24, frames=33)
scene = drawn(spec, 0)
film = scene_of(spec, scene, setting_of(spec, scene))
one = slice(16, 17)
placed = [dataclasses.replace(p, position=p.position[one], rotation=p.rotation[one]) for p in film.placed]
film = dataclasses.replace(film, placed=tuple(placed), cameras=film.cameras[one])
ours = render(film, 18, 24, samples=2, objects=True, device="cuda")
cpu = render(film, 18, 24, samples=2, objects=True)
assert len(np.unique(cpu.identities)) > 1
assert (ours.identities == cpu.identities).mean() >= 0.999
far = np.abs(ours.frames.astype(int) - cpu.frames).max(-1)
assert (far <= 1).mean() >= 0.999, np.sort(far.ravel())[-4:]
"""


@pytest.mark.slow
@pytest.mark.parametrize("told", [[SCRIPT], [CLIP, "collide"], [CLIP, "tower"], [CLIP, "drop"]])
def test_cuda_kernels_match_the_cpu(told):
    run = subprocess.run(
        [sys.executable, "-c", *told],
        env={"NUMBA_ENABLE_CUDASIM": "1", "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]


def test_without_a_gpu_it_says_so(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(gpu.importlib, "import_module", missing)
    gpu._load_kernels.cache_clear()
    with pytest.raises(UserError, match="kinema\\[cuda\\]"):
        gpu._load_kernels()
