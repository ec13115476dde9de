"""Video files as arrays of frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from comporta.data.files import check_file
from comporta.errors import ConfigurationError, DataError, ShapeError, missing_extra

VIDEO_FILES = (".mp4", ".avi", ".mkv", ".mov", ".webm")
_BITS_PER_PIXEL = 4


def read_frames(
    path: str | Path, *, size: int = 32, every: int = 1, most: int | None = None
) -> np.ndarray:
    """Read the frames of a video, scaled to a square.

    A frame that is not square is squeezed, not cut. Frames are scaled as they are decoded, so that
    memory holds small ones only.

    Args:
        path: the file.
        size: H and W, in pixels.
        every: keep frames 0, every, 2 every and so on.
        most: T at most; None for all. What comes behind is never decoded.

    Returns:
        (T, H, W, 3) uint8, red green blue.

    Raises:
        DataError: there is no such file, it is broken, or it has no frames.
        ConfigurationError: a number below 1, or the library av is missing.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.mp4"
    >>> write_video(file, np.zeros((6, 32, 32, 3), np.uint8), rate=10)
    >>> read_frames(file, size=16, every=2).shape
    (3, 16, 16, 3)
    """
    for name, value in (("size", size), ("every", every), ("most", most)):
        if value is not None and value < 1:
            raise ConfigurationError(f"{name} is {value}; it must be at least 1")
    path = check_file(path)
    try:
        import av
    except ImportError:
        raise missing_extra("av", "video") from None
    frames: list[np.ndarray] = []
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise DataError(f"{path} holds no video")
            for index, frame in enumerate(container.decode(video=0)):
                if index % every == 0:
                    small = frame.reformat(width=size, height=size, format="rgb24")
                    frames.append(small.to_ndarray())
                if len(frames) == most:
                    break
    except av.error.FFmpegError as error:
        raise DataError(f"{path} cannot be read as a video: {error.strerror}") from None
    if not frames:
        raise DataError(f"{path} has no frames")
    return np.stack(frames)


def write_video(path: str | Path, frames: np.ndarray, *, rate: int) -> None:
    """Write frames as an MPEG-4 video, which every build of the library can.

    Args:
        path: the file; its ending chooses the container.
        frames: (T, H, W, 3) uint8, red green blue; H and W even.
        rate: frames a second.

    Raises:
        ShapeError: frames of another shape or type.
        ConfigurationError: the library av is missing.

    >>> write_video("a.mp4", np.zeros((1, 5, 5, 3), np.uint8), rate=10)
    Traceback (most recent call last):
    comporta.errors.ShapeError: frames (1, 5, 5, 3) of uint8; expected (T, H, W, 3) of uint8, H, ...
    """
    if (
        frames.ndim != 4
        or frames.shape[3] != 3
        or frames.dtype != np.uint8
        or any(side % 2 for side in frames.shape[1:3])
    ):
        raise ShapeError(
            f"frames {frames.shape} of {frames.dtype}; expected (T, H, W, 3) of uint8, H, W even"
        )
    try:
        import av
    except ImportError:
        raise missing_extra("av", "video") from None
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(rate))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = _BITS_PER_PIXEL * stream.height * stream.width * rate
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
