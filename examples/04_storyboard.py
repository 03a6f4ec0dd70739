"""Several shots in one video, with a cut and a blend; then a loop."""

import kinema
from kinema import Shot

pipe = kinema.load("world")

shots = [
    Shot(prompt="a red ball rolls to the left"),
    Shot(prompt="a blue cube slides to the right", seconds=2.0, transition="cut"),
    Shot(prompt="a blue cube stands still", seconds=3.0, transition="blend"),
]
video = pipe.generate(storyboard=shots, seconds=4.0, seed=0)
print(f"{video.seconds:.2f} s, {len(video.frames)} frames")
video.save("storyboard.mp4")

pipe.generate("a red ball rolls to the left", loop=True, seed=0).save("loop.gif")
