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
from kinema.simulator.appearance.material import material_row
from kinema.simulator.render.camera import camera_row
from kinema.simulator.render.scene import Kind, PosedObject, Primitive, RenderScene
from kinema.simulator.render.tracer import render
ball = Primitive(kind=Kind.SPHERE, size=(0.8, 0, 0), material=0, occlusion=0.8)
ball_object = PosedObject(
    object_id=4, primitives=(ball,), position=np.array([[0, 0, 0.8]]), rotation=np.eye(3)[None]
)
scene = RenderScene(
    objects=(ball_object,),
    materials=material_row("plastic", "red")[None],
    sky="studio", sky_seed=0, floor="plain floor", floor_seed=0,
    cameras=np.stack([camera_row((x, -4, 1.2), (0, 0, 0.7), 40) for x in (0.0, 0.4)]),
)
gpu = render(scene, 6, 8, samples=2, object_ids=True, depth=True, device="cuda")
cpu = render(scene, 6, 8, samples=2, object_ids=True, depth=True)
assert 4 in gpu.object_ids
assert (gpu.object_ids == cpu.object_ids).mean() >= 0.99, (gpu.object_ids, cpu.object_ids)
difference = np.abs(gpu.frames.astype(int) - cpu.frames).max(-1)
assert (difference <= 1).mean() >= 0.99, difference
finite = np.isfinite(cpu.depth)
np.testing.assert_allclose(gpu.depth[finite], cpu.depth[finite], rtol=1e-3)
"""

# The middle frame of a simulated clip, where the event happens.
CLIP = """
import dataclasses, sys, warnings; warnings.simplefilter("ignore")
import numpy as np
from kinema.simulator.clip import ClipSpec
from kinema.simulator.scene_sampler import sample_scene
from kinema.simulator.render_scene import build_render_scene, sample_environment
from kinema.simulator.render.tracer import render
spec = ClipSpec(seed=100, event=sys.argv[1], height=18, width=24, num_frames=33)
sampled = sample_scene(spec, 0)
scene = build_render_scene(spec, sampled, sample_environment(spec, sampled))
middle = slice(16, 17)
objects = [
    dataclasses.replace(o, position=o.position[middle], rotation=o.rotation[middle]) for o in scene.objects
]
scene = dataclasses.replace(scene, objects=tuple(objects), cameras=scene.cameras[middle])
gpu = render(scene, 18, 24, samples=2, object_ids=True, device="cuda")
cpu = render(scene, 18, 24, samples=2, object_ids=True)
assert len(np.unique(cpu.object_ids)) > 1
assert (gpu.object_ids == cpu.object_ids).mean() >= 0.999
difference = np.abs(gpu.frames.astype(int) - cpu.frames).max(-1)
assert (difference <= 1).mean() >= 0.999, np.sort(difference.ravel())[-4:]
"""


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[SCRIPT], [CLIP, "collide"], [CLIP, "tower"], [CLIP, "drop"]])
def test_cuda_kernels_match_the_cpu(arguments):
    run = subprocess.run(
        [sys.executable, "-c", *arguments],
        env={"NUMBA_ENABLE_CUDASIM": "1", "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]


def test_without_a_gpu_it_says_so(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(gpu.importlib, "import_module", missing)
    gpu._load_kernels.cache_clear()
    with pytest.raises(UserError, match="numba-cuda"):
        gpu._load_kernels()
