"""Image to video: a first frame, a last frame, and keyframes in between."""

from PIL import Image

import kinema
from kinema import Keyframe

pipe = kinema.load("world")

# Two images to start from; any file or uint8 array of shape (h, w, 3) works.
source = pipe.generate("a red ball rolls to the left", seed=0)
Image.fromarray(source.frames[0]).save("first.png")
Image.fromarray(source.frames[-1]).save("last.png")

video = pipe.generate("a red ball rolls to the left", image="first.png", last_image="last.png", seed=1)
video.save("first_and_last.mp4")

# A keyframe moves to the nearest group border: here 4 frames at 8 frames per second.
keyframe = Keyframe(seconds=1.0, image=source.frames[8])
pipe.generate("a red ball rolls to the left", image="first.png", keyframes=[keyframe]).save("keyframes.mp4")
