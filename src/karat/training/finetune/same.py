"""Whether a saved model reads and scores conversations as it did in training.

A reward that is trained on one format and asked in another gives scores that look sound. So before
anything is measured, a few conversations go both ways, through the trainer and through the reward
that a recipe names, and are compared token by token.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from karat.errors import RowError, RunError
from karat.models.torch_libraries import imported, quiet
from karat.rewards.transformers import TransformersReward
from karat.training.finetune.examples import Example
from karat.training.finetune.reader import Reader
from karat.training.finetune.trainer import scores_of
from karat.training.ratings import HumanData

_COMPARED, _WITHIN = 4, {"float32": 1e-3, "bfloat16": 0.1}


def check(
    model: Any, reader: Reader, reward: TransformersReward, data: HumanData, pad: int, dtype: str
) -> None:
    """Compare the model in memory with the reward of its saved folder on a few of `data`.

    Raises: RunError where they read other tokens, or score otherwise than rounding explains.
    """
    torch = imported("torch")
    model.eval()
    rows = [(row.prompt, row.response) for row in data.rated]
    rows += [(pair.prompt, pair.chosen) for pair in data.pairs]
    compared = 0
    for prompt, response in rows:
        try:
            ids, long = reader.read(prompt, response)
        except RowError:
            continue
        if long:
            continue
        with torch.no_grad():
            scores = scores_of(model, [Example((ids,), ())], pad, model.device)
        mine = scores.float().cpu().numpy()[0]
        with quiet():
            seen, theirs = reward.seen(prompt, response), reward.score(prompt, [response])[0]
        spread = max(1.0, float(np.abs(mine).max()))
        if seen.ids != ids.tolist() or np.abs(mine - theirs).max() > _WITHIN[dtype] * spread:
            raise RunError(
                f"{reward.name} is not read as it was trained ({mine} in training, {theirs} when "
                "loaded): a fault of karat or of a library below it; please report it"
            )
        compared += 1
        if compared == _COMPARED:
            return
