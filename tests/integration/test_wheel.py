"""An installed wheel works without the repository."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK_REPOSITORY = """
import sys
sys.path = [path for path in sys.path if path != sys.argv[1] + "/src"]
sys.path.insert(0, sys.argv[2])
import kinema
assert kinema.__file__.startswith(sys.argv[2]), kinema.__file__
assert not any(name in sys.modules for name in ("benchmarks", "tools"))
from kinema.cli import main
main(sys.argv[3:])
"""


@pytest.mark.slow
def test_generate_from_an_unpacked_wheel(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("kinema-*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(site)
    assert not [name for name in names if name.startswith(("benchmarks/", "tools/", "tests/"))]

    def run(*arguments: str) -> subprocess.CompletedProcess:
        # -P: the working directory is not on the path.
        command = [sys.executable, "-P", "-c", BLOCK_REPOSITORY, str(ROOT), str(site), *arguments]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    completed = run("generate", "a red ball rolls to the left", "--num-inference-steps", "2")
    assert completed.returncode == 0, completed.stderr
    assert (tmp_path / "video.mp4").is_file()
    for command in ("dataset", "train", "evaluate", "serve", "studio"):
        assert run(command, "--help").returncode == 0, command
