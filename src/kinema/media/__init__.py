"""Files to frames and back: reading and writing films and pictures, contact sheets, comparing.

film = read_film("clip.mov")                       # uint8 f h w 3, exact times, upright
for frame in frames("long.mkv"): ...               # one by one, constant memory
write_film("film.mp4", film.frames, film.fps)      # the suffix chooses the format
with writer("film.webm", fps=24, size=(832, 480)) as out:
    out.write(chunk)                               # as long as you like
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
