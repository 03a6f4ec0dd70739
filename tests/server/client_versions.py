"""The tests of the official client, run with several versions of it.

    python tests/server/client_versions.py 2.2.0 2.30.0 3.54.0

Each version is installed into its own folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).with_name("test_openai_client.py")
ROOT = TESTS.parents[2]


def main(versions: list[str]) -> int:
    """Install and test each version; how many failed."""
    failed = 0
    for version in versions:
        folder = Path(tempfile.gettempdir()) / f"openai-{version}"
        if not folder.is_dir():
            install = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "-q",
                "--target",
                str(folder),
                f"openai=={version}",
            ]
            subprocess.run(install, check=True)
        print(f"openai {version}", flush=True)
        run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS)]
        path = os.pathsep.join(map(str, (folder, ROOT / "src", ROOT)))
        failed += subprocess.run(run, env={**os.environ, "PYTHONPATH": path}).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
