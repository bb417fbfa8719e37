"""Random numbers that belong to a key, a place, and a fault of it, on every machine alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from landweave.transforms.augment import seed_of
from landweave.transforms.faults.schedules import LOOK


@dataclass(frozen=True)
class Draws:
    """The random numbers of one fault: `fault` is its kind and its number among those of its kind."""

    key: tuple[int, ...]
    fault: str

    @classmethod
    def of(cls, key: Sequence[int], fault: str = "") -> Draws:
        """Draws under a key."""
        return cls(tuple(int(k) for k in key), fault)

    @property
    def epoch(self) -> int:
        """The epoch that schedules are read at."""
        return self.key[1] if len(self.key) > 1 else LOOK

    def rng(self, place: str, what: str = "") -> np.random.Generator:
        """A generator for one place and purpose (a sensor, a band): Philox streams, as `augment.draw` has them."""
        return np.random.Generator(np.random.Philox(key=seed_of(self.key, place, f"fault {self.fault} {what}")))

    def chance(self, place: str, what: str = "") -> float:
        """A number from 0 to 1."""
        return float(self.rng(place, what).random())
