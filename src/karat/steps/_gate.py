"""The novelty gate of the steps that write: what is too close to the pool is not taken.

A pool is what the same step wrote in earlier rounds and what it wrote for this row. Both are known
in the same order however a run goes, so a run that is killed and taken up again refuses the same
prompts. What different rows write in the same round meets in `dedupe`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from karat.context import Context
from karat.curation.novelty import Near, Pool, Prepared, prepare

Similarity = Annotated[float, msgspec.Meta(ge=0.3, le=1)]
WORDS, MEANING = 0.6, 0.92  # from which a prompt is a repeat; benchmarks/diversity.py
Novelty = Annotated[
    dict[Literal["words", "meaning"], Similarity] | Literal["off"],
    msgspec.Meta(extra={"default": f"{{words: {WORDS}, meaning: {MEANING}}}"}),
]
TOLD = 4  # repeated prompts that a model is told to keep away from


class Gate:
    """Takes prompts one after another; refuses those too close to one it has.

    `novelty`: least similarities, of `words` (Jaccard, as in dedupe) and of `meaning` (cosine of
    embeddings), from which a prompt is too close. With `off` only the same text is refused.
    """

    def __init__(self, ctx: Context, novelty: Novelty) -> None:
        self._off = novelty == "off"
        self._words, self._meaning = 1.0, 1.01
        if novelty != "off":
            self._words = novelty.get("words", WORDS)
            self._meaning = novelty.get("meaning", MEANING)
        self._before, self._own = Pool() if self._off else ctx.written(), Pool()
        self._prepared: dict[str, Prepared] = {}
        self._repeats: dict[str, Near | None] = {}  # of what earlier rounds wrote
        self.repeated: list[str] = []  # what refused prompts came too close to, newest last

    def look(self, texts: Sequence[str]) -> None:
        """Prepares several texts at once, which costs little more than one."""
        new = [text for text in dict.fromkeys(texts) if text not in self._prepared]
        prepared = prepare(new)
        self._prepared.update(zip(new, prepared, strict=True))
        if not self._off:
            found = self._before.near_all(prepared, self._words, self._meaning)
            self._repeats.update(zip(new, found, strict=True))

    def near(self, text: str) -> Near | None:
        """What of the pool a text is too close to, if anything."""
        self.look([text])
        found = self._own.near(self._prepared[text], self._words, self._meaning)
        return found or self._repeats.get(text)

    def admit(self, text: str) -> bool:
        """Takes a text into the pool, or refuses it and remembers what it repeats."""
        found = self.near(text)
        if found is None:
            self._own.add(self._prepared[text])
            return True
        if found.text in self.repeated:
            self.repeated.remove(found.text)
        self.repeated.append(found.text)
        return False

    def avoid(self) -> list[str]:
        """What a model that is asked again should keep away from, one line each."""
        return [" ".join(text.split())[:200] for text in self.repeated[-TOLD:]]
