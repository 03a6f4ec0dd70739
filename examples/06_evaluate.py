"""Score videos against their prompts with classical vision; no neural network is involved."""

import kinema
from kinema.evaluation.prompt_parser import parse_prompt
from kinema.evaluation.score_video import score_video

pipe = kinema.load("world")

for prompt in ("a red ball rolls to the left", "a yellow cone stands to the left of a green cube"):
    video = pipe.generate(prompt, seed=0)
    scores = score_video(parse_prompt(prompt), video.frames, video.fps)
    print(prompt)
    for measure, passed in scores.verdicts.items():
        if passed is not None:  # None: the prompt does not ask for it
            print(f"    {measure:20} {'pass' if passed else 'FAIL'}")
