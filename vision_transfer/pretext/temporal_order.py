"""Predict whether frames of a video are in order: Shuffle & Learn (Misra et al., ECCV 2016).

To predict whether a frame could have been shown between two others, a model has to learn how things
move, and for that what they are. The labels come from the order of the frames. All three frames go
through one timm backbone; `load_backbone` loads it from the folder that `save_features` writes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils import data
from torchvision.transforms import v2
from transformers.utils import ModelOutput

from vision_transfer.pretext.model import PretextConfig, PretextModel

if TYPE_CHECKING:
    from datasets import Dataset

ORDERS = ("out of order", "in order")

_FEWEST = 10  # frames of a window
_GAPS = 8  # frames that are chosen lie at least this part of their window apart
_CUT, _LEAP = 0.15, 5.0  # a change that is larger, and so many times the median, is a cut
_HIDDEN = 128  # width of the head

Frame = NDArray[np.uint8]


class Window(NamedTuple):
    """Rows of a data set of frames, `stop` not included, that follow on one another."""

    start: int
    stop: int


def high_motion_windows(videos: "Dataset", length: float = 1.2) -> list[Window]:
    """Return the windows with at least the median motion of their video, and without a cut.

    Where nothing moves, any order is right. Windows overlap by nine tenths.

    Args:
        videos: The frames, from `read_videos`.
        length: Length of a window, in seconds.

    Returns:
        The windows, in the order of videos and of time; none of a video that is shorter than
        `length`, or of which a window would have fewer than ten frames.

    Examples:
        >>> from vision_transfer.videos import read_videos
        >>> windows = high_motion_windows(read_videos("film.mp4", size=48).dataset)
        >>> {window.stop - window.start for window in windows}  # 1.2 s of 25 frames a second
        {30}
    """
    columns = videos.with_format("numpy")
    video, seconds, motion = (np.asarray(columns[c]) for c in ("video", "seconds", "motion"))
    found = []
    for number in np.unique(video):
        rows = np.flatnonzero(video == number)
        moved: list[tuple[float, Window]] = []
        for shown in np.arange(seconds[rows[0]], seconds[rows[-1]] - length + 1e-6, length / 10):
            span = np.array([shown, shown + length]) - 1e-6
            start, stop = rows[0] + np.searchsorted(seconds[rows], span)
            changes = motion[start + 1 : stop]
            if stop - start < _FEWEST or changes.max() > max(_CUT, _LEAP * np.median(changes)):
                continue
            moved.append((float(changes.mean()), Window(int(start), int(stop))))
        least = np.median([amount for amount, _ in moved]) if moved else 0.0
        found += [window for amount, window in moved if amount >= least and amount > 0]
    return found


def held_out_folds(
    windows: Sequence[Window], videos: "Dataset", folds: int
) -> list[tuple[list[Window], list[Window]]]:
    """Return for each fold windows to train on and windows to test on, without a common frame.

    A fold holds out whole videos; where there are fewer videos than folds, a span of each. Test
    windows do not overlap, so that their scores are independent.

    Args:
        windows: The windows, from `high_motion_windows`.
        videos: The frames.
        folds: Number of folds.

    Returns:
        For each fold the windows to train on, and those to test on.

    Examples:
        >>> from datasets import Dataset
        >>> videos = Dataset.from_dict({"video": [0] * 30 + [1] * 30})
        >>> windows = [Window(0, 20), Window(10, 30), Window(30, 50)]
        >>> for train, held_out in held_out_folds(windows, videos, folds=2):
        ...     print(train, held_out)
        [Window(start=30, stop=50)] [Window(start=0, stop=20)]
        [Window(start=0, stop=20), Window(start=10, stop=30)] [Window(start=30, stop=50)]
    """
    video = np.asarray(videos.with_format("numpy")["video"])
    of_video: dict[int, list[Window]] = {}
    for window in windows:
        of_video.setdefault(int(video[window.start]), []).append(window)
    parts: list[list[Window]] = [[] for _ in range(folds)]
    if len(of_video) >= folds:
        for place, number in enumerate(np.random.default_rng(0).permutation(list(of_video))):
            parts[place % folds] += of_video[int(number)]
    else:
        for own in of_video.values():
            for place, window in enumerate(own):
                parts[place * folds // len(own)].append(window)
    split = []
    for part in parts:
        held_out: list[Window] = []
        for window in sorted(part):
            if not held_out or window.start >= held_out[-1].stop:
                held_out.append(window)
        train = [
            one
            for one in windows
            if all(one.stop <= other.start or one.start >= other.stop for other in part)
        ]
        split.append((train, held_out))
    return split


class FrameTriplets(data.Dataset[dict[str, torch.Tensor]]):
    """Three frames of a window: in order, or with a middle one from before or after the others.

    Of five moments a < b < c < d < e, `b c d` is in order, `b a d` and `b e d` are not: the first
    and the last frame come from the same moments in all of them, and say nothing about the label.
    Every other example is in order. Half of the examples are reversed, which does not change their
    label.

    Args:
        videos: The frames, from `read_videos`; they are read when needed.
        windows: The windows to draw frames from.
        size: Height and width of what the model sees, in pixels; at most that of the frames.
        repeats: Number of pairs of examples of each window.
        seed: Random seed of fixed examples to test on, whose frames are cropped in the middle; both
            examples of a pair have the same moments. By default moments are drawn each time, and
            frames are cropped, flipped both ways and changed in colour at random, all three alike.

    Examples:
        >>> from vision_transfer.videos import read_videos
        >>> videos = read_videos("film.mp4", size=48).dataset
        >>> triplets = FrameTriplets(videos, [Window(0, 30), Window(30, 60)], size=32, seed=0)
        >>> len(triplets), triplets[0]["pixel_values"].shape, ORDERS[triplets[1]["labels"]]
        (4, torch.Size([3, 3, 32, 32]), 'out of order')
    """

    def __init__(
        self,
        videos: "Dataset",
        windows: Sequence[Window],
        size: int,
        *,
        repeats: int = 1,
        seed: int | None = None,
    ) -> None:
        self.frames = videos.select_columns(["frame"]).with_format("numpy", dtype=np.uint8)
        self.windows, self.repeats, self.seed = list(windows), repeats, seed
        cut: list[Any] = [v2.CenterCrop(size)]
        if seed is None:
            cut = [
                v2.RandomResizedCrop(size, scale=(0.35, 1.0), ratio=(1.0, 1.0)),
                v2.RandomHorizontalFlip(),
                v2.RandomVerticalFlip(),
                v2.ColorJitter(0.4, 0.4, 0.4),
            ]
        numbers = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])]
        self.transform = v2.Compose([*cut, *numbers])

    def __len__(self) -> int:
        return 2 * self.repeats * len(self.windows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Return `pixel_values`, `float32 [3, channels, size, size]`, and `labels` (`ORDERS`)."""
        rows, label = self.rows(index)
        frames = torch.from_numpy(self.frames[rows]["frame"])
        return {"pixel_values": self.transform(frames), "labels": torch.tensor(label)}

    def rows(self, index: int) -> tuple[list[int], int]:
        """Return the rows of the frames of an example, and whether they are in order."""
        if not 0 <= index < len(self):
            raise IndexError(index)  # by which Python's loops know the end
        pair, shuffled = divmod(index, 2)
        drawn = int(torch.randint(2**31, ())) if self.seed is None else [self.seed, pair]
        random = np.random.default_rng(drawn)
        start, stop = self.windows[pair % len(self.windows)]
        gap = max(1, (stop - start) // _GAPS)
        spare = stop - start - 1 - 4 * gap
        moments = start + np.sort(random.integers(0, spare + 1, 5)) + gap * np.arange(5)
        a, b, c, d, e = moments.tolist()
        rows = [b, [a, e][random.integers(2)] if shuffled else c, d]
        return rows[:: random.choice([-1, 1])], 1 - shuffled


class TemporalOrderConfig(PretextConfig):
    """Configuration of a `TemporalOrder`."""

    model_type = "temporal_order"


@dataclass
class TemporalOrderOutput(ModelOutput):
    """Output of a `TemporalOrder`.

    Attributes:
        loss: Cross-entropy, where labels are given.
        logits: `float32 [batch, 2]`, see `ORDERS`.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None


class TemporalOrder(PretextModel):
    """A timm backbone that encodes three frames separately, and a head that compares them.

    The head has a hidden layer, and takes the differences of features beside the features: a linear
    layer could only add up what each frame says by itself, and no single frame says whether it is
    in order.

    Args:
        config: The configuration; `around` builds a model on an existing backbone.

    Examples:
        >>> from vision_transfer.backbones import untrained_backbone
        >>> backbone, _ = untrained_backbone("resnet10t", ["none"], size=32)
        >>> model = TemporalOrder.around(backbone)
        >>> model(torch.zeros(2, 3, 3, 32, 32)).logits.shape
        torch.Size([2, 2])
    """

    config_class = TemporalOrderConfig

    def __init__(self, config: TemporalOrderConfig) -> None:
        super().__init__(config)
        width = int(cast(Any, self.encoder.timm_model).num_features)
        self.head = nn.Sequential(
            nn.Linear(6 * width, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, len(ORDERS))
        )
        self.post_init()

    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None
    ) -> TemporalOrderOutput:
        """Predict whether frames are in order.

        Args:
            pixel_values: `float32 [batch, 3, channels, height, width]` from -1 to 1.
            labels: `int64 [batch]`, 1 where they are.

        Returns:
            `logits`, `[batch, 2]`, and with labels `loss`; see `TemporalOrderOutput`.
        """
        frames = pixel_values.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        backbone = cast(Any, self.encoder.timm_model)
        pooled = backbone.forward_head(backbone.forward_features(frames), pre_logits=True)
        first, middle, last = pooled.unflatten(0, (-1, 3)).unbind(1)
        apart = [(first - middle).abs(), (middle - last).abs(), (first - last).abs()]
        logits = self.head(torch.cat([first, middle, last, *apart], 1))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return TemporalOrderOutput(loss=loss, logits=logits)
