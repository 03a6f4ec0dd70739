"""Continue a video, connect two videos, and change one."""

import kinema
from kinema import EditInput, ExtendInput, InterpolateInput

pipe = kinema.load("world")
prompt = "a red ball rolls to the left"

first = pipe.generate(prompt, seed=0)
first.save("first.mp4")  # an MP4 keeps the latents of its last frames, so an extension need not encode them
second = pipe.generate(prompt, seed=1)
second.save("second.mp4")

longer = pipe.generate(prompt, source=ExtendInput(video="first.mp4"), seconds=2.0)
print(f"extended from {len(first.frames)} to {len(longer.frames)} frames")
longer.save("longer.mp4")

both = pipe.generate(prompt, source=InterpolateInput(first="first.mp4", last="second.mp4"))
print(f"{len(both.frames) - len(first.frames) - len(second.frames)} new frames between the two videos")
both.save("both.mp4")

# strength is the sigma to which the source is noised: low values stay close to it.
edited = pipe.generate("a blue ball rolls to the left", source=EditInput(video="first.mp4", strength=0.8))
edited.save("edited.mp4")
