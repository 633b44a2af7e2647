"""Sets of ratings under a name: on the Hugging Face hub, or in a folder laid out like one there.

`OWNER/NAME[:SUBSET][@SPLIT]`. A subset is a configuration or, where there is none of that name, a
folder of the repository. HelpSteer2 keeps its preferences so: all of them in one split, with a
column that says which are for validation, and therefore a split is looked for in that column too.
Unlike the step `read` this does not stream: what is trained on is read again, and is then there
without a network.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from karat.errors import KaratError, RecipeError, did_you_mean
from karat.steps._files import as_json, file_format

DEFAULT_SPLIT = "train"
_NAME = re.compile(r"(?P<place>.+?)(?::(?P<subset>[\w.-]+))?(?:@(?P<split>[\w.-]+))?")
_ON_HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_SUBSETS = {"nvidia/HelpSteer3": "preference"}  # its other sets hold no ratings
_ALIASES = {"val": "validation", "valid": "validation", "dev": "validation"}
_BATCH = 1024


class Name(NamedTuple):
    """What a source names; `split` is empty where none is named."""

    place: str
    subset: str
    split: str

    def __str__(self) -> str:
        subset = f":{self.subset}" if self.subset else ""
        return f"{self.place}{subset}@{self.split or DEFAULT_SPLIT}"

    @property
    def label(self) -> str:
        """The name without the path of its folder, which is nobody else's business."""
        folder = Path(self.place)
        return str(self._replace(place=folder.absolute().name) if folder.is_dir() else self)


def name_of(source: str) -> Name | None:
    """The parts of a name whose place is a folder or may be on the hub; None for a file's name."""
    found = _NAME.fullmatch(source)
    if found is None:
        return None
    place, subset, split = found["place"], found["subset"] or "", found["split"] or ""
    on_hub = _ON_HUB.fullmatch(place) and not file_format(Path(place))
    if not Path(place).is_dir() and not on_hub:
        return None
    return Name(place, subset or _SUBSETS.get(place, ""), split)


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` of datasets wrote the folder."""
    return any((folder / f"dataset_{kind}.json").is_file() for kind in ("info", "dict"))


def set_records(name: Name) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place in words, record) of each row of the split. Raises: RecipeError."""
    try:
        import datasets
    except ImportError:
        raise RecipeError(
            f"'{name.place}' needs Hugging Face datasets: pip install 'karat[hf]'; or copy the "
            "data here and name the file"
        ) from None
    try:
        with _without_retries():
            rows, wanted = _split(_load(datasets, name), name)
        number = 0
        for batch in rows.with_format("arrow").iter(_BATCH):
            for record in batch.to_pylist():
                number += 1
                if wanted is None or _part(record["split"]) == wanted:
                    yield f"{name}, row {number}", as_json(record)
    except (KaratError, GeneratorExit):
        raise
    except Exception as error:  # whatever the hub, the network, a token or a broken file raises
        said = " ".join(str(error).split())[:300]
        raise RecipeError(
            f"'{name}' cannot be had ({type(error).__name__}: {said}); look at the name and the "
            "network, or copy the data here and name the file"
        ) from None


@contextmanager
def _without_retries() -> Iterator[None]:
    """No line for each try: what is the matter is said once, in the error."""
    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "datasets")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _load(datasets: Any, name: Name) -> Any:
    if is_saved(Path(name.place)):
        return datasets.load_from_disk(name.place)
    try:
        return datasets.load_dataset(name.place, name.subset or None)
    except ValueError as error:
        if not name.subset or "BuilderConfig" not in str(error):
            raise
    return datasets.load_dataset(name.place, data_dir=name.subset)


def _split(found: Any, name: Name) -> tuple[Any, str | None]:
    """The rows, and what their column `split` must say, where it says which part they are of."""
    split = name.split or DEFAULT_SPLIT
    parts = found if isinstance(found, dict) else {DEFAULT_SPLIT: found}
    named = next((part for part in parts if _part(part) == _part(split)), None)
    rows = parts[named] if named else next(iter(parts.values()))
    if len(parts) == 1 and "split" in rows.column_names:
        values = {_part(value) for value in rows.unique("split")}
        if _part(split) in values:
            return rows, _part(split)
        parts = parts if named else dict.fromkeys(sorted(values))
    if named:
        return rows, None
    raise RecipeError(f"'{name.place}' has no split '{split}'; {did_you_mean(split, parts)}")


def _part(split: object) -> str:
    return _ALIASES.get(str(split), str(split))
