"""Windows: consecutive frames whose starts are spread over the video."""

import numpy as np

from kinema.data.windows import WindowedVideos
from tests.fixtures.training_data import numbered_frames


def test_windows_are_contiguous_and_start_everywhere():
    windows = WindowedVideos(videos=numbered_frames(), window_frames=9, windows_per_video=3, seed=1)
    assert len(windows) == 120
    starts = []
    for index in range(len(windows)):
        frames = windows.frames(index)[:, 0, 0, 0].tolist()
        assert frames == list(range(frames[0], frames[0] + 9))
        starts.append(frames[0])
        assert windows.captions(index) == (f"video {index // 3}",)
    assert set(starts) == set(range(13))  # 21 frames have 13 windows of 9
    by_position = np.array(starts).reshape(40, 3)
    assert (by_position[:, 0] <= 4).all()
    assert (by_position[:, 2] >= 8).all()
    again = WindowedVideos(videos=numbered_frames(), window_frames=9, windows_per_video=3, seed=1)
    assert again.frames(7).tobytes() == windows.frames(7).tobytes()


def test_window_may_be_the_full_video():
    videos = numbered_frames(length=9)
    assert len(WindowedVideos(videos=videos, window_frames=9, windows_per_video=2).frames(1)) == 9
