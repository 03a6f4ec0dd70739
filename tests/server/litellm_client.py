"""LiteLLM's SDK as a client (`hosted_vllm` and `openai`), in a virtual environment of its own: it is large.

    python tests/server/litellm_client.py

Starts a server, and prints a line for each call.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLIENT = """
import io, sys, time, litellm
base, key = sys.argv[1:]
image = open(sys.argv[0] + ".png", "rb")
common = dict(api_base=base, api_key=key)
for provider, extra in (
    ("hosted_vllm", dict(width=64, height=48, num_frames=9, fps=16, num_inference_steps=4, guidance_scale=4.0,
                         guidance_scale_2=3.0, boundary_ratio=0.875, flow_shift=5.0, seed=42,
                         negative_prompt="rain", extra_params={"max_sequence_length": 512})),
    ("hosted_vllm", dict(input_reference=image, seconds="1", aspect_ratio="16:9")),
    ("openai", dict(seconds="4", size="1280x720")),
):
    model = f"{provider}/" + ("testcard" if provider == "hosted_vllm" else "sora-2")
    video = litellm.video_generation(model=model, prompt="a red ball", **extra, **common)
    while video.status in ("queued", "in_progress"):
        time.sleep(0.1)
        video = litellm.video_status(video_id=video.id, **common)
    data = litellm.video_content(video_id=video.id, **common)
    assert video.status == "completed" and data[4:8] == b"ftyp", (video, data[:20])
    print(provider, video.status, video.size, video.seconds, len(data), "bytes")
for bad, param in ((dict(width=64, height=63), "size"), (dict(generate_sound=True), "generate_sound")):
    try:
        litellm.video_generation(model="hosted_vllm/testcard", prompt="x", **bad, **common)
    except Exception as error:
        assert param in str(error), error
        print("refused", type(error).__name__, param)
    else:
        raise SystemExit(f"{bad} was accepted")
"""


def main() -> int:
    """Install LiteLLM, run a server and the client; its exit status."""
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    from tests.fixtures import server

    venv = Path(tempfile.gettempdir()) / "kinema-litellm"
    python = venv / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "litellm>=1.110"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "client.py"
        script.write_text(CLIENT)
        Path(f"{script}.png").write_bytes(server.image_bytes())
        keys = {"KINEMA_API_KEYS": f"alice:{server.ALICE}"}
        with server.running_server(Path(folder) / "data", env=keys) as running:
            command = [str(python), str(script), running.url, server.ALICE]
            env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # It downloads a list otherwise.
            return subprocess.run(command, check=False, env=env).returncode


if __name__ == "__main__":
    sys.exit(main())
