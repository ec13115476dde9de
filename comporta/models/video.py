"""Pictures as vectors: a small convolution for each frame of a video."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from comporta.errors import ConfigurationError, ShapeError

_CHANNELS = (16, 32)
_LEAST = 8
_FLAT = 1e-3
_LIGHT = 4
"""Numbers of a frame's light: the mean of three colours, and the deviation."""


class FrameInput(nn.Module):
    """Each frame of a video as a vector.

        n_t = (v_t - mean) / deviation
        x_t = relu(W [relu(C2 * relu(C1 * n_t)); mean; deviation] + b)

    The mean, of each colour, and the deviation are those of the frame itself: shapes are seen
    whatever the light, and the light is told beside them. C1 and C2 are convolutions with a
    stride of 2. Their pictures are laid out as one vector, not averaged, since what matters in a
    video is often where things are.

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
        near = nn.Conv2d(3, first, 5, stride=2, padding=2)
        far = nn.Conv2d(first, second, 3, stride=2, padding=1)
        self.convolutions = nn.Sequential(near, nn.ReLU(), far, nn.ReLU(), nn.Flatten())
        self.linear = nn.Linear(second * side * side + _LIGHT, size)
        for layer in (near, far, self.linear):
            # So that frames are as large behind a layer as before it (He et al. 2015).
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, frames: Tensor) -> Tensor:
        """Vectors (B, T, D) of frames (B, T, H, W, 3) uint8.

        Raises:
            ShapeError: the frames have another shape.
        """
        if frames.ndim != 5 or frames.shape[2:] != (self.picture, self.picture, 3):
            raise ShapeError(
                f"frames have shape {tuple(frames.shape)}; expected (B, T, {self.picture}, "
                f"{self.picture}, 3)"
            )
        # Convolutions read (N, 3, H, W), in about [-1, 1].
        pictures = frames.flatten(0, 1).permute(0, 3, 1, 2).to(self.linear.weight) / 127.5 - 1
        mean = pictures.mean((2, 3), keepdim=True)
        apart = pictures - mean
        # A frame of one colour alone has no deviation.
        deviation = apart.square().mean((1, 2, 3), keepdim=True).sqrt() + _FLAT
        shapes = self.convolutions(apart / deviation)
        light = torch.cat([mean.flatten(1), deviation.flatten(1)], dim=1)
        vectors: Tensor = self.linear(torch.cat([shapes, light], dim=1)).relu()
        return vectors.reshape(*frames.shape[:2], self.size)
