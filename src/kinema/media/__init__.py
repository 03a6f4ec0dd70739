"""Files to frames and back: reading and writing videos and images, contact sheets, metrics.

video = read_video("clip.mov")                       # uint8 f h w 3, exact times, upright
for frame in frames("long.mkv"): ...                 # one by one, constant memory
write_video("out.mp4", video.frames, video.fps)      # the suffix chooses the format
with open_writer("out.webm", fps=24, size=(832, 480)) as writer:
    writer.write(chunk)                              # any number of frames, constant memory

read.py, probe.py       reading frames; metadata without reading them
container.py            video containers through PyAV
animated_image.py       GIF, WebP, APNG and AVIF through Pillow
image_sequence.py       folders and zips of PNG images
images.py               still images
write.py                writing: chooses one of the encoders below
encode.py, gif.py, webp.py, frame_diff.py, colour.py
fragmented_mp4.py       an MP4 that plays while it is written
mp4_uuid_box.py         extra bytes in an MP4
contact_sheet.py        contact sheets and sprite sheets
metrics.py              PSNR and SSIM
formats.py, types.py    file formats; the types of results and limits
"""

from kinema.media.contact_sheet import SpriteSheet, contact_sheet, evenly_spaced, sprite_sheet
from kinema.media.formats import Format, Quality
from kinema.media.images import resize, save_image, save_png, thumbnail
from kinema.media.metrics import psnr, ssim
from kinema.media.probe import MediaInfo, probe
from kinema.media.read import frames, read_image, read_video
from kinema.media.types import DecodedVideo, Frame, Limits, ReadResult
from kinema.media.write import VideoWriter, open_writer, write_video

__all__ = [
    "DecodedVideo",
    "Format",
    "Frame",
    "Limits",
    "MediaInfo",
    "Quality",
    "ReadResult",
    "SpriteSheet",
    "VideoWriter",
    "contact_sheet",
    "evenly_spaced",
    "frames",
    "open_writer",
    "probe",
    "psnr",
    "read_image",
    "read_video",
    "resize",
    "save_image",
    "save_png",
    "sprite_sheet",
    "ssim",
    "thumbnail",
    "write_video",
]
