"""Wrong arguments of karat's own functions, with the right spelling in the message."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from karat.errors import did_you_mean

P = ParamSpec("P")
T = TypeVar("T")


def suggesting(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator: a keyword there is not raises a TypeError that names the nearest one there is."""
    parameters = inspect.signature(function).parameters
    known = [name for name, one in parameters.items() if one.kind is not one.POSITIONAL_ONLY]

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        for name in kwargs:
            if name not in known:
                words = did_you_mean(name, [one for one in known if one != "self"])
                raise TypeError(f"{function.__qualname__}() takes no '{name}'; {words}")
        return function(*args, **kwargs)

    return called
