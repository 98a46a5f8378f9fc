"""From what each frame shows to visits: a state machine that knows no camera and no model."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from staged_training.runtime.errors import InputError

UNSURE = "unsure"
"""The label of a visit by something that was not recognised, or by more than one animal."""

_DAY = 86_400.0  # seconds


@dataclass(frozen=True)
class Seen:
    """What a frame shows.

    Attributes:
        time: When, in seconds.
        scores: The score of each label; empty where something is there that is of no label, None
            where nobody is there.
        area: How much of the frame is taken up, from 0 to 1.
        picture: The frame as JPEG, if it is to be kept.
    """

    time: float
    scores: Mapping[str, float] | None
    area: float = 0.0
    picture: bytes | None = None


@dataclass(frozen=True)
class Visit:
    """Somebody who came, stayed and left.

    Attributes:
        label: Who; `UNSURE` if that is not clear.
        score: The mean score of the label, where something was recognised; if it is not clear, the
            highest of all labels.
        begin: When it was first seen, in seconds.
        end: When it was last seen; None if it is still there.
        picture: The frame that shows it best, as JPEG, if such were kept.
        film: The film it is in, and whose seconds are meant; if it was live, they are those of
            `time.monotonic`.
    """

    label: str
    score: float
    begin: float
    end: float | None
    picture: bytes | None = None
    film: str = ""


@dataclass(frozen=True)
class Rules:
    """What counts as a visit.

    Attributes:
        window: Seconds over which frames are averaged: what is there in less than half of them is
            not there.
        pause: Seconds in which nobody is seen that end a visit.
        least: Seconds that a visit lasts at least, to be told.
        sure: The mean score that a label needs in the frames in which something is recognised.
            These must be at least half of the frames of a window.
        at_arrival: Tell a visit as soon as its label is sure, not when it has ended.

    Raises:
        InputError: A number is out of range.
    """

    window: float = 2.0
    pause: float = 5.0
    least: float = 0.0
    sure: float = 0.7
    at_arrival: bool = False

    def __post_init__(self) -> None:
        for name, least in (("window", 0.1), ("pause", 0.0), ("least", 0.0)):
            if not least <= (seconds := getattr(self, name)) <= _DAY:
                raise InputError(
                    f"`{name}` is {seconds:g}; give seconds from {least:g} to {_DAY:g}.", [name]
                )
        if not 0.5 < self.sure <= 1:
            raise InputError(
                f"`sure` is {self.sure:g}; give a score above 0.5, and 1 at most.", ["sure"]
            )


class Visits:
    """Turns what frames show into visits, each of which is returned once.

    Args:
        rules: What counts as one.

    Examples:
        >>> from transfer_app.camera.visits import Rules, Seen, Visits
        >>> visits = Visits(Rules(window=2, pause=5))
        >>> told = []
        >>> for second in range(30):
        ...     is_there = 10 <= second < 20
        ...     told += visits.add(Seen(second, {"cat": 0.9, "dog": 0.1} if is_there else None))
        >>> [(visit.label, visit.begin, visit.end) for visit in told]
        [('cat', 10, 19)]
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._recent: list[Seen] = []
        self._stay: _Stay | None = None

    def add(self, seen: Seen) -> list[Visit]:
        """Add what the next frame shows; return the visits that are to be told now."""
        begin = seen.time - self._rules.window
        self._recent = [one for one in self._recent if one.time > begin] + [seen]
        present = [one for one in self._recent if one.scores is not None]
        new = [one for one in present if self._stay is None or one.time > self._stay.last]
        told = self.wait(new[0].time if new else seen.time)
        if not new or 2 * len(present) <= len(self._recent):
            return told
        self._stay = self._stay or _Stay(new[0].time)
        self._stay.add(new, begin)
        return told + self._decided(self._stay, seen.time)

    def wait(self, time: float) -> list[Visit]:
        """Let time pass in which no frame comes; return the visits that are to be told now."""
        if self._stay is None or time - self._stay.last <= self._rules.pause:
            return []
        return self.end()

    def end(self) -> list[Visit]:
        """Return the visit that is not over yet, if there is one that is to be told."""
        stay, self._stay = self._stay, None
        if stay is None:
            return []
        self._recent = [one for one in self._recent if one.time > stay.last]
        return self._ended(stay)

    def _decided(self, stay: "_Stay", now: float) -> list[Visit]:
        """Decide who is there by the frames of a whole window; another label begins a new visit."""
        if now - stay.begin < self._rules.window:
            return []
        label, score = _likeliest(_total(stay.recent))
        if score < self._rules.sure or not _mostly_recognised(stay.recent):
            return []
        told = []
        if stay.label not in (None, label):
            self._stay, left = stay.handed_over(label), stay
            told, stay = self._ended(left), self._stay
        stay.label = label
        if self._rules.at_arrival and not stay.told and now - stay.begin >= self._rules.least:
            stay.told = True
            picture = _clearest(stay.recent, label).picture
            told.append(Visit(label, score, stay.begin, None, picture))
        return told

    def _ended(self, stay: "_Stay") -> list[Visit]:
        """Return a visit that is over, unless it was told or is too short."""
        if stay.told or stay.last - stay.begin < self._rules.least:
            return []
        return [stay.whole(self._rules)]


@dataclass
class _Stay:
    """A visit that is not over yet.

    Attributes:
        label: Who it is, once that was clear.
        told: Whether it was told at its arrival.
        last: When it was last seen.
        recent: Its frames of the last window, which may turn out to be of the next visit.
        scores: The scores of the frames before, in total.
        clearest: The clearest of them for each label that was the likeliest.
        until: When the last of them was.
    """

    begin: float
    label: str | None = None
    told: bool = False
    last: float = -inf
    recent: list[Seen] = field(default_factory=list)
    scores: Counter[str] = field(default_factory=Counter)
    clearest: dict[str, Seen] = field(default_factory=dict)
    until: float = -inf

    def add(self, frames: Sequence[Seen], begin: float) -> None:
        """Add frames, and count those until the beginning of the window."""
        frames = [*self.recent, *frames]
        self._count([one for one in frames if one.time <= begin])
        self.recent = [one for one in frames if one.time > begin]
        self.last = frames[-1].time

    def handed_over(self, label: str) -> "_Stay":
        """End here; return the visit of another label that has followed without a pause."""
        first = [_label_of(one) for one in self.recent].index(label)
        self.recent, after = self.recent[:first], self.recent[first:]
        self.last = self.recent[-1].time if self.recent else self.until
        return _Stay(after[0].time, last=after[-1].time, recent=after)

    def whole(self, rules: Rules) -> Visit:
        """Return the visit, now that it is over."""
        is_short = self.last - self.begin < rules.window
        is_known = is_short and _mostly_recognised(self.recent)
        self._count(self.recent)
        label, score = _likeliest(self.scores)
        if score >= rules.sure and (is_known or label == self.label):
            picture = self.clearest[label].picture
        else:
            label = UNSURE
            picture = max(self.clearest.values(), key=lambda one: one.area).picture
        return Visit(label, score, self.begin, self.last, picture)

    def _count(self, frames: Sequence[Seen]) -> None:
        self.scores.update(_total(frames))
        for one in frames:
            label = _label_of(one)
            self.clearest[label] = _clearest([self.clearest.get(label, one), one], label)
            self.until = one.time


def _total(frames: Iterable[Seen]) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in frames:
        total.update(one.scores or {})
    return total


def _likeliest(scores: Mapping[str, float]) -> tuple[str, float]:
    """Return the label of the highest score, and its share of all; `""` where there is none."""
    label = max(scores, key=scores.__getitem__, default="")
    return (label, scores[label] / sum(scores.values())) if label else ("", 0.0)


def _label_of(frame: Seen) -> str:
    return _likeliest(frame.scores or {})[0]


def _mostly_recognised(frames: Sequence[Seen]) -> bool:
    """Return whether something was recognised in at least half of the frames."""
    return 2 * sum(bool(one.scores) for one in frames) >= len(frames)


def _clearest(frames: Iterable[Seen], label: str) -> Seen:
    """Return the frame that is surest of a label; of several the one that is filled most."""
    return max(frames, key=lambda one: ((one.scores or {}).get(label, 0.0), one.area))
