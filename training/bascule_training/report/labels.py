"""Where names stand in a chart, so that they cover neither marks nor each other. Places are in percent of the plot."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

LABEL_GAP = 7.0
"""How far apart names at the ends of lines stand at least, in percent of the plot's height."""

_LETTER_HEIGHT = 6.0
_LETTER_WIDTH = 2.4
_POINT_SIZE = 6.0
"""Sizes on the narrowest plot that is drawn, on a phone: what stands apart there does so everywhere."""

_LETTERS = 24
"""Longer names are cut."""

_ROUNDS = 3
"""So often every name may look for a better side, now that the others have theirs."""


def spread(places: Sequence[float], gap: float = LABEL_GAP) -> list[float]:
    """Moves places between 0 and 100 apart, as little as that needs, so that no two are closer than ``gap``.

    Their order stays. Where there is no room for all of them, the gaps shrink to what there is.
    """
    gap = min(gap, 100 / max(1, len(places) - 1))
    order = np.argsort(places, kind="stable")
    steps = gap * np.arange(len(places))
    # Without their steps, places that are far enough apart never fall; the nearest such places are a regression.
    rising = isotonic_regression(np.asarray(places, np.float64)[order] - steps).x
    moved = np.empty(len(places))
    moved[order] = np.clip(rising, 0, 100 - steps[-1]) + steps
    return [round(float(place), 2) for place in moved]


def sides(names: Sequence[str], points: Sequence[tuple[float, float]]) -> list[str]:
    """On which side of its point each name stands: ``right``, ``left``, ``above``, ``below``, or at a corner of it.

    Args:
        names: one for each point.
        points: from the left and from the top.
    """
    taken = [_Box.around(*point) for point in points]
    choices = [_Box.beside(*point, min(len(name), _LETTERS)) for name, point in zip(names, points, strict=True)]
    chosen: dict[int, str] = {}
    for _ in range(_ROUNDS):
        for number, boxes in enumerate(choices):
            others = taken + [choices[other][side] for other, side in chosen.items() if other != number]
            covered = {side: box.covered(others) for side, box in boxes.items()}
            chosen[number] = min(covered, key=covered.__getitem__)
    return list(chosen.values())


class _Box(NamedTuple):
    """A part of the plot."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def around(cls, x: float, y: float) -> "_Box":
        """What a point covers."""
        half = _POINT_SIZE / 2
        return cls(x - half, y - half, x + half, y + half)

    @classmethod
    def beside(cls, x: float, y: float, letters: int) -> dict[str, "_Box"]:
        """What a name covers, by its side of the point."""
        wide, high, gap = letters * _LETTER_WIDTH, _LETTER_HEIGHT, _POINT_SIZE / 2
        return {
            "right": cls(x + gap, y - high / 2, x + gap + wide, y + high / 2),
            "left": cls(x - gap - wide, y - high / 2, x - gap, y + high / 2),
            "above": cls(x - wide / 2, y - gap - high, x + wide / 2, y - gap),
            "below": cls(x - wide / 2, y + gap, x + wide / 2, y + gap + high),
            "above right": cls(x, y - gap - high, x + wide, y - gap),
            "below right": cls(x, y + gap, x + wide, y + gap + high),
            "above left": cls(x - wide, y - gap - high, x, y - gap),
            "below left": cls(x - wide, y + gap, x, y + gap + high),
        }

    def covered(self, others: Sequence["_Box"]) -> float:
        """How much of it others cover, or lies outside of the plot."""
        outside = (self.right - self.left) * (self.bottom - self.top) - self.shared(_PLOT)
        return outside + sum(self.shared(other) for other in others)

    def shared(self, other: "_Box") -> float:
        """The area of what both cover."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, wide) * max(0.0, high)


_PLOT = _Box(0, 0, 100, 100)
