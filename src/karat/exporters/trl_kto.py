"""trl-kto: single answers with a thumb up or down, for TRL's KTOTrainer.

An answer that a step kept is true, one that a step turned down is false, and one about which
nothing was decided is left out. Where `pairs` has chosen, only the members of its pairs are
labelled: it turns down everything else of a row, the second best as well.

TRL takes the lines in the order of the file and reads how far the model has moved from its
reference off prompts with the answer of the line before. Were that an answer to the same prompt the
estimate would be wrong, so the lines of a row are spread over the file.

Source: trl 1.16.0, trl/trainer/kto_{config,trainer}.py, `train_sampling_strategy` and
`KL_completion_ids`; KTO: 2402.01306.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain, groupby, islice, zip_longest
from pathlib import Path
from typing import Any

from karat.exporters.base import (
    Exported,
    Lines,
    answer,
    files_of,
    paired,
    ranking,
    split_of,
    turns,
    write_parts,
)
from karat.row import Response, Row
from karat.rundir import Run

FILES = files_of("trl-kto.jsonl")  # what this export writes; an older run's are removed first
WINDOW = 4096  # lines that are spread at once, and held in memory
MARK = b',"completion":'


def export(run: Run, folder: Path) -> Exported:
    """Writes `trl-kto.jsonl`, or `trl-kto.train.jsonl` and so on where rows have a `meta.split`:
    prompt, completion, label.

    Left out and counted by reason: empty answers, undecided ones, and ties: texts that are kept and
    turned down, and answers turned down with the score of a kept one. Without both labels among
    the lines to train on there is nothing to learn, and no file.
    """
    key, _ = ranking(run.accepted_file)
    seen: Counter[bool] = Counter()

    def lines(row: Row, made: Exported) -> Iterator[dict[str, Any]]:
        if not row.messages:
            made.leave_out("no prompt")
            return
        for response, label in zip(row.responses, _labels(row, key), strict=True):
            if isinstance(label, str):
                made.leave_out(label)
                continue
            seen[label] += split_of(row) in ("", "train")
            yield {
                "prompt": turns(row.messages),
                "completion": answer(response.content),
                "label": label,
            }

    made = write_parts(run.accepted_file, folder / FILES[0], "train", lines)
    if made.rows and not (seen[True] and seen[False]):
        _withdraw(made, "turned-down" if seen[True] else "kept")
    for path in made.files.values():
        _spread(path)
    return made


def _labels(row: Row, key: str | None) -> list[bool | str]:
    """For each response its label, or why it has none."""
    marks = _marks(row)
    texts: dict[str, set[bool]] = {}
    scores: dict[bool, set[float | None]] = {True: set(), False: set()}
    for response, mark in zip(row.responses, marks, strict=True):
        if isinstance(mark, bool):
            texts.setdefault(_folded(response), set()).add(mark)
            scores[mark].add(response.scores.get(key) if key else None)
    found: list[bool | str] = []
    for response, mark in zip(row.responses, marks, strict=True):
        score = response.scores.get(key) if key else None
        if not isinstance(mark, bool):
            found.append(mark)
        elif not response.content.strip():
            found.append("empty response")
        elif len(texts[_folded(response)]) == 2:
            found.append("same text kept and turned down")
        elif not mark and score is not None and score in scores[True]:
            found.append("turned down with the score of a kept response")
        else:
            found.append(mark)
    return found


def _marks(row: Row) -> list[bool | str]:
    """What was decided of each response."""
    pairs = paired(row)
    if not pairs:
        return ["undecided" if one.kept is None else one.kept for one in row.responses]
    marks: list[bool | str] = ["in no pair"] * len(row.responses)
    for pair in pairs:
        marks[pair.rejected] = False
    for pair in pairs:
        turned_down = row.responses[pair.chosen].kept is False
        marks[pair.chosen] = "turned down by a later step" if turned_down else True
    return marks


def _withdraw(made: Exported, missing: str) -> None:
    """Removes what was written: with one label a model learns to say everything, or nothing."""
    for path in made.files.values():
        path.unlink()
    made.left_out[f"no {missing} response beside it in the data to train on"] = made.rows
    made.files, made.rows = {}, 0


def _spread(path: Path) -> None:
    """Deals the lines of a window out, one of each row at a time, and not the same label first."""
    with path.open("rb") as stream, Lines(path) as out:
        while window := list(islice(stream, WINDOW)):
            # Quotes inside texts are escaped: these stand at the end of the prompt alone.
            rows = [list(lines) for _, lines in groupby(window, lambda line: line.split(MARK)[0])]
            turned = [
                lines[i % len(lines) :] + lines[: i % len(lines)] for i, lines in enumerate(rows)
            ]
            for line in chain.from_iterable(zip_longest(*turned)):
                if line is not None:
                    out.put(line)


def _folded(response: Response) -> str:
    return " ".join(response.content.split())
