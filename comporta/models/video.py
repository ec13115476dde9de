"""Pictures as vectors: a small convolution for each frame of a video."""

from __future__ import annotations

from torch import Tensor, nn

from comporta.errors import ConfigurationError, ShapeError

_CHANNELS = (16, 32)
_LEAST = 8


class FrameInput(nn.Module):
    """Each frame of a video as a vector.

        x_t = relu(W relu(C2 * relu(C1 * v_t)) + b)

    C1 and C2 are convolutions with a stride of 2. Their pictures are laid out as one vector, not
    averaged, since what matters in a video is often where things are.

    Source: Donahue et al. 2015, arXiv:1411.4389 (a recurrent network over convolved frames).

    Args:
        picture: height and width of a frame.
        size: D, of the vectors.

    Raises:
        ConfigurationError: frames too small for the convolutions.

    >>> FrameInput(16, 5)(torch.zeros(2, 3, 16, 16, 3, dtype=torch.uint8)).shape
    torch.Size([2, 3, 5])
    """

    def __init__(self, picture: int, size: int) -> None:
        super().__init__()
        if picture < _LEAST:
            raise ConfigurationError(
                f"frames of {picture} x {picture} pixels; they must have at least {_LEAST} each way"
            )
        self.picture, self.size = picture, size
        first, second = _CHANNELS
        side = -(-picture // 4)
        self.layers = nn.Sequential(
            nn.Conv2d(3, first, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(second * side * side, size),
            nn.ReLU(),
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Vectors (B, T, D) of frames (B, T, H, W, 3) uint8.

        Raises:
            ShapeError: the frames have another shape.
        """
        batch, time = frames.shape[:2]
        if frames.shape[2:] != (self.picture, self.picture, 3):
            raise ShapeError(
                f"frames have shape {tuple(frames.shape)}; expected (B, T, {self.picture}, "
                f"{self.picture}, 3)"
            )
        # Convolutions read (N, 3, H, W), in about [-1, 1].
        pictures = frames.flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
        vectors: Tensor = self.layers(pictures)
        return vectors.reshape(batch, time, self.size)
