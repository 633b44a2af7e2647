"""A reward head as a file: one .npz, the same bytes for the same head.

Numbers are stored as finely as a score is printed and no finer, so that a hundred trees fit in a
package; what comes out of the file is what `karat reward train` measured, for it reads its own file
before it tests. A file of another version is refused with the way to a new one.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.curation import embedding
from karat.errors import RecipeError
from karat.rewards import features
from karat.rewards.columns import PARTS, Columns
from karat.rewards.head_model import ATTRIBUTES, Head
from karat.rewards.head_parts import Curve, Forest, Line, Linear, Standard
from karat.rewards.hidden import Hidden, Reading

FORMAT = "karat-reward-head-2"
WITH_HIDDEN = "karat-reward-head-2-hidden"  # what knows only the other must not read it
_QUANTA = 1000.0  # leaves are stored to a thousandth of a point
_DEEPEST = 1000
_AGAIN = "make it again with `karat reward train`"
_UNREADABLE = (
    *(AttributeError, LookupError, TypeError, ValueError),
    *(EOFError, OSError, zipfile.BadZipFile, zlib.error, msgspec.MsgspecError),
)

Arrays = dict[str, NDArray[Any]]


def pack(head: Head) -> bytes:
    """The head as an .npz."""
    meta = head.meta | {
        "format": FORMAT if head.hidden is None else WITH_HIDDEN,
        "features": features.VERSION,
        "names": list(features.NAMES),
        "embedding": embedding.IDENTITY if head.columns.static else "",
        "attributes": list(ATTRIBUTES) if head.rated else [],
        "surface": head.columns.surface,
        "parts": list(head.columns.axes),
        "members": head.members,
        "depth": head.forest.depth if head.forest else 0,
    }
    if head.hidden is not None:
        meta["hidden"] = msgspec.to_builtins(head.hidden.reading)
    arrays: Arrays = {
        "meta": np.frombuffer(json.dumps(meta, sort_keys=True).encode(), dtype=np.uint8),
        "standard": _packed_standard(head.standard),
        "lines": np.array(
            [[*line.slope_A, *line.intercept_A] for line in (head.attribute_line,)]
        ).reshape(2, -1),
        "reward_line": np.concatenate([head.reward_line.slope_A, head.reward_line.intercept_A]),
    }
    arrays |= {f"axes_{part}": rows_KD for part, rows_KD in head.columns.axes.items()}
    for name, linear in (("linear", head.linear), ("paired", head.paired)):
        if linear is not None:
            arrays[name] = linear.weight_MFA.astype(np.float32)
            arrays[f"{name}_bias"] = linear.bias_MA
    if head.forest is not None:
        arrays |= _packed_forest(head.forest)
    if head.hidden is not None:
        arrays |= _packed_hidden(head.hidden)
    if head.length is not None:
        arrays["length"] = np.stack([head.length.log_chars_G, head.length.height_G])
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _packed_standard(standard: Standard) -> NDArray[np.float64]:
    return np.vstack([standard.low_F, standard.high_F, standard.mean_F, standard.scale_F])


def _packed_hidden(hidden: Hidden) -> Arrays:
    return {
        "hidden_standard": _packed_standard(hidden.standard).astype(np.float32),
        "hidden": hidden.linear.weight_MFA.astype(np.float32),
        "hidden_bias": hidden.linear.bias_MA,
    }


def _packed_forest(forest: Forest) -> Arrays:
    return {
        "roots": forest.roots_T,
        "feature": forest.feature_K.astype(np.uint16),
        "threshold": forest.threshold_K.astype(np.float32),
        "step": (forest.child_K - np.arange(len(forest.child_K))).astype(np.uint32),
        "value": np.round(forest.value_KA * _QUANTA).astype(np.int16),
    }


def head_from_bytes(data: bytes, where: str) -> Head:
    """Read a head; `where` names it in errors.

    Raises:
        RecipeError: the bytes are no head, or a head of another version of what it reads.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays["meta"].tobytes())
        found = (meta["format"], meta["features"])
    except _UNREADABLE as error:
        raise RecipeError(f"{where}: not a reward head; {_AGAIN}") from error
    known = found[0] in (FORMAT, WITH_HIDDEN) and found[1] == features.VERSION
    if not known or meta.get("names") != list(features.NAMES):
        raise RecipeError(
            f"{where}: a reward head of another version ({found[0]}, features {found[1]}); this"
            f" karat reads {FORMAT}, features {features.VERSION}: {_AGAIN}"
        )
    if meta.get("embedding") not in ("", embedding.IDENTITY):
        raise RecipeError(
            f"{where}: made with the embeddings {meta.get('embedding')}; this karat has"
            f" {embedding.IDENTITY}: {_AGAIN}"
        )
    try:
        head = _unpacked(arrays, meta)
        _check(head, meta)
    except _UNREADABLE as error:
        raise RecipeError(f"{where}: a damaged reward head; {_AGAIN}") from error
    return head


def _unpacked(arrays: Arrays, meta: dict[str, Any]) -> Head:
    columns = Columns(
        bool(meta["surface"]), {part: arrays[f"axes_{part}"] for part in meta["parts"]}
    )
    slope_A, intercept_A = arrays["lines"]
    slope, intercept = arrays["reward_line"]
    return Head(
        columns=columns,
        standard=Standard(*arrays["standard"].astype(np.float64)),
        linear=_linear(arrays, "linear"),
        forest=_forest(arrays, meta),
        paired=_linear(arrays, "paired"),
        attribute_line=Line(slope_A, intercept_A),
        reward_line=Line(np.array([slope]), np.array([intercept])),
        length=Curve(*arrays["length"]) if "length" in arrays else None,
        meta=meta,
        hidden=_hidden(arrays, meta),
    )


def _hidden(arrays: Arrays, meta: dict[str, Any]) -> Hidden | None:
    if meta["format"] != WITH_HIDDEN:
        return None
    linear = _linear(arrays, "hidden")
    if linear is None:
        raise ValueError("no weights of hidden states")
    reading = msgspec.convert(meta["hidden"], Reading)
    return Hidden(reading, Standard(*arrays["hidden_standard"].astype(np.float64)), linear)


def _linear(arrays: Arrays, name: str) -> Linear | None:
    if name not in arrays:
        return None
    return Linear(arrays[name].astype(np.float64), arrays[f"{name}_bias"].astype(np.float64))


def _forest(arrays: Arrays, meta: dict[str, Any]) -> Forest | None:
    if "roots" not in arrays:
        return None
    nodes = len(arrays["step"])
    return Forest(
        roots_T=arrays["roots"].astype(np.int32),
        feature_K=arrays["feature"].astype(np.int32),
        threshold_K=arrays["threshold"].astype(np.float64),
        child_K=(arrays["step"] + np.arange(nodes)).astype(np.int32),
        value_KA=arrays["value"] / _QUANTA,
        depth=int(meta["depth"]),
        members=int(meta["members"]),
    )


def _check(head: Head, meta: dict[str, Any]) -> None:
    """Raises: ValueError where the arrays do not fit together."""
    width, members, outputs = len(head.columns.names), int(meta["members"]), len(meta["attributes"])
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        *((column.shape, (width,)) for column in (head.standard.low_F, head.standard.scale_F)),
        (head.attribute_line.slope_A.shape, (outputs,)),
        *(
            (axes_KD.shape[1:], (embedding.DIMENSIONS,))
            for part, axes_KD in head.columns.axes.items()
            if part in PARTS
        ),
    ]
    for linear, gives in ((head.linear, outputs), (head.paired, 1)):
        if linear is not None:
            shapes.append((linear.weight_MFA.shape, (members, width, gives)))
            shapes.append((linear.bias_MA.shape, (members, gives)))
    if head.hidden is not None:
        wide, spread = head.hidden.reading.width, head.hidden.standard
        shapes += [(column.shape, (wide,)) for column in (spread.low_F, spread.scale_F)]
        shapes.append((head.hidden.linear.weight_MFA.shape, (members, wide, outputs)))
        shapes.append((head.hidden.linear.bias_MA.shape, (members, outputs)))
    standards = [head.standard, *([head.hidden.standard] if head.hidden else [])]
    numbers = [head.reward_line.slope_A, *map(_packed_standard, standards)]
    parts = [head.linear, head.paired, head.hidden.linear if head.hidden else None]
    numbers += [part.weight_MFA for part in parts if part is not None]
    fits = (
        all(found == wanted for found, wanted in shapes)
        and all(np.isfinite(array).all() for array in numbers)
        and set(head.columns.axes) <= set(PARTS)
        and members > 0
        and (head.linear is None) == (head.forest is None) == (outputs == 0)
        and (head.linear or head.paired) is not None
        and (head.forest is None or _stands(head.forest, width, outputs))
    )
    if not fits:
        raise ValueError("arrays do not fit together")


def _stands(forest: Forest, width: int, outputs: int) -> bool:
    nodes = len(forest.child_K)
    right_K = forest.child_K + np.isfinite(forest.threshold_K)
    return bool(
        nodes
        and len(forest.roots_T) % forest.members == 0
        and 0 < forest.depth <= _DEEPEST
        and forest.value_KA.shape == (nodes, outputs)
        and len(forest.feature_K) == len(forest.threshold_K) == nodes
        and min(forest.roots_T.min(), forest.child_K.min()) >= 0
        and max(forest.roots_T.max(), right_K.max()) < nodes
        and forest.feature_K.max() < width
    )
