"""Text to video: load the shipped model, generate, save, and watch the progress of a second video."""

import kinema
from kinema import FrameChunk, SamplingStep, VideoRequest

pipe = kinema.load("world")

video = pipe.generate("a red ball rolls to the left", seed=0)
print(video)  # 17 frames, 128x128, 8 fps
video.save("video.mp4")

# The same with events: progress bars, previews and cancellation read them.
request = VideoRequest(prompt="a blue cube slides to the right", num_inference_steps=8, seed=1)
for event in pipe.stream(request):
    if isinstance(event, SamplingStep):
        print(f"step {event.index + 1} of {event.total}, sigma {event.sigma:.2f}")
    elif isinstance(event, FrameChunk):
        print(f"{event.done} of {event.total} frames: uint8 {event.frames.shape}")
