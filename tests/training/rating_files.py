"""Files of ratings and preferences in which the better answer is plain to see."""

from __future__ import annotations

import json
from pathlib import Path


def write(path: Path, *records: object) -> Path:
    path.write_text("\n".join(json.dumps(r) for r in records), encoding="utf-8")
    return path


def rating(prompt: str, response: str, mark: float) -> dict[str, object]:
    names = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    return {"prompt": prompt, "response": response} | dict.fromkeys(names, mark)


def toy(path: Path, prompts: int = 24) -> Path:
    rows = [
        rating(f"What is thing {i}?", text, mark)
        for i in range(prompts)
        for text, mark in ((f"Thing {i} is a useful tool. It cuts wood.", 4), ("No.", 0))
    ]
    return write(path, *rows)


def preferences(path: Path, prompts: int = 24) -> Path:
    return write(
        path,
        *(
            {
                "prompt": f"What is thing {i}?",
                "response_1": f"Thing {i} is a useful tool. It cuts wood.",
                "response_2": "No.",
                "preference_strength": -2,
            }
            for i in range(prompts)
        ),
    )
