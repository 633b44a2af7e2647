"""What the tests of mix share: as much of a context as it touches."""

from __future__ import annotations

import random
from pathlib import Path


class Ctx:
    """As much of a context as a table step touches."""

    def __init__(self, folder: Path, seed: int = 0, label: str = "mix") -> None:
        self.folder, self._seed, self.label = folder, seed, label
        self.warnings: list[str] = []

    def rng(self) -> random.Random:
        return random.Random(self._seed)

    def path(self, value: str) -> Path:
        return self.folder / value

    def warn(self, text: str) -> None:
        self.warnings.append(text)
