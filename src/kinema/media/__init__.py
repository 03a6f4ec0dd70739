"""Files to frames and back: reading and writing films and pictures, contact sheets, comparing.

film = read_film("clip.mov")                       # uint8 f h w 3, exact times, upright
for frame in frames("long.mkv"): ...               # one by one, constant memory
write_film("film.mp4", film.frames, film.fps)      # the suffix chooses the format
with writer("film.webm", fps=24, size=(832, 480)) as out:
    out.write(chunk)                               # as long as you like
"""

from kinema.media.compare import psnr, ssim
from kinema.media.footage import Ending, Footage, Frame, Limits
from kinema.media.formats import Format, Quality
from kinema.media.probe import Probe, probe
from kinema.media.read import frames, read_film, read_picture
from kinema.media.sheet import Sprites, contact_sheet, evenly, sprites
from kinema.media.still import resized, save_picture, save_png, thumbnail
from kinema.media.write import Writer, write_film, writer

__all__ = [
    "Ending",
    "Footage",
    "Format",
    "Frame",
    "Limits",
    "Probe",
    "Quality",
    "Sprites",
    "Writer",
    "contact_sheet",
    "evenly",
    "frames",
    "probe",
    "psnr",
    "read_film",
    "read_picture",
    "resized",
    "save_picture",
    "save_png",
    "sprites",
    "ssim",
    "thumbnail",
    "write_film",
    "writer",
]
