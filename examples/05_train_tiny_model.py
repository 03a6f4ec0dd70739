"""The whole training recipe at its smallest scale: render, train, encode, train, export, and generate.

The result is a folder of weights in the format of every other model. At this scale the videos are noise; the
point is the path. `kinema train full --scale lab --budget 2h` does the same for a real model.

Usage: python 05_train_tiny_model.py [seconds for training]
"""

import sys
from pathlib import Path

import torch

import kinema
from kinema.models.text_encoders.minilm import MiniLm
from kinema.training.export import export
from kinema.training.recipes import full, full_config
from kinema.training.stages import RunContext


def main(budget: float) -> None:
    """Train for `budget` seconds and generate a video with the result."""
    config = full_config.tiny(budget=budget)
    context = RunContext(run_dir=Path("run"), device=torch.device("cpu"), load_text_encoder=MiniLm.load)
    stage = ""
    for progress in full.run_recipe(config, context):  # stop reading to stop; run again to continue
        if progress.stage != stage:
            stage = progress.stage
            print(f"{stage} ...")
    folder = export(full.load_trained(config, context), Path("run/weights"))
    pipe = kinema.load(folder)
    print(pipe.generate("a red ball rolls to the left", seed=0))


if __name__ == "__main__":  # rendering starts processes, which import this file again
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0)
