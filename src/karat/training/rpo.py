"""Preferences with TRL's trainer: DPO as it is, and RPO, which it does not have.

DPO knows only which answer is better, and pushes the two apart without end. RPO knows by how much:
it moves the policy's own preference, σ(β·difference of log ratios), to the reward's, σ(η·difference
of rewards), and stops there; a pair that is nearly a tie teaches nearly nothing.

Rewards of different models have different scales (HelpSteer2's 0 to 4, others unbounded), and a
sigmoid is flat beyond 4: the difference is divided by σ, the standard deviation of the rewards of
all answers in the training pairs, so that `eta` means the same whatever graded them. HelpSteer2's
own σ is near 1 (1.27 for helpfulness), where this is what the paper does.

Source: Nemotron-4 340B (arXiv 2406.11704 §3.3.2): the objective, η = 1, the SFT term; NVIDIA's
NeMo-Aligner, nemo_aligner/models/nlp/gpt/megatron_gpt_dpo_model.py (`rpo_bwd_kl`, `sft_loss_func`):
the SFT term is the chosen answer's negative log likelihood summed over its tokens.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from karat.models.torch_libraries import imported

GAP = "reward_gap"


def rpo_loss(logratio_gap_P: Any, reward_gap_P: Any, beta: float, eta: float) -> Any:
    """The divergence of each pair, a tensor of P; `karat.training.objectives.rpo` in torch."""
    log_sigmoid = imported("torch").nn.functional.logsigmoid
    a_P, b_P = beta * logratio_gap_P, eta * reward_gap_P
    better_P = log_sigmoid(b_P).exp() * (log_sigmoid(b_P) - log_sigmoid(a_P))
    worse_P = log_sigmoid(-b_P).exp() * (log_sigmoid(-b_P) - log_sigmoid(-a_P))
    return better_P + worse_P


@cache
def trainer_class() -> Any:
    """TRL's DPOTrainer on rows that are tokens already, and with RPO. Raises: RecipeError."""
    torch, trl = imported("torch"), imported("trl")

    class PreferenceTrainer(trl.DPOTrainer):  # type: ignore[misc,name-defined]
        """`eta` None: DPO."""

        def __init__(
            self, *args: Any, eta: float | None = None, sft_coefficient: float = 0.0, **more: Any
        ) -> None:
            self.eta, self.sft_coefficient = eta, sft_coefficient
            self._rows_a_part = 0.0  # of the step under way
            super().__init__(*args, **more)
            if eta is not None:
                made: Any = self.data_collator
                self.data_collator: Any = _with_gaps(made, torch)

        def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
            return dataset  # prompt_ids, chosen_ids, rejected_ids are there

        def _set_signature_columns_if_needed(self) -> None:
            super()._set_signature_columns_if_needed()
            if GAP not in self._signature_columns:
                self._signature_columns.append(GAP)

        def get_batch_samples(self, *args: Any) -> Any:
            parts, items = super().get_batch_samples(*args)
            rows = sum(len(part["input_ids"]) for part in parts)
            self._rows_a_part = rows / max(len(parts), 1)
            return parts, items

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, *args: Any, **more: Any
        ) -> Any:
            """A step's gradient is the mean over its parts: a smaller last part counts for less."""
            rows = len(inputs["input_ids"])
            made = super().compute_loss(model, inputs, return_outputs, *args, **more)
            if return_outputs or not self.model.training or rows == self._rows_a_part:
                return made
            return made * (rows / self._rows_a_part)

        def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
            if self.eta is None:
                return super()._compute_loss(model, inputs, return_outputs)
            inputs = dict(inputs)
            gap_P = inputs.pop(GAP)
            mask = inputs.pop("completion_mask")
            labels = inputs["input_ids"].masked_fill(mask == 0, -100)
            out = model(**inputs, use_cache=False, labels=labels, fused_lm_head=True)
            chosen_P, rejected_P = out.log_probs.sum(dim=1).chunk(2)
            reference = self.model if self.ref_model is None else self.ref_model
            base = self.compute_ref_log_probs(reference, {**inputs, "completion_mask": mask})
            logratio_gap_P = (chosen_P - base[0]) - (rejected_P - base[1])
            loss_P = rpo_loss(logratio_gap_P, gap_P, self.beta, self.eta)
            self._note(logratio_gap_P, gap_P)
            loss = (loss_P - self.sft_coefficient * chosen_P).mean()
            return (loss, out) if return_outputs else loss

        def _note(self, logratio_gap_P: Any, gap_P: Any) -> None:
            """What TRL's log shows of DPO, for RPO."""
            found = self._metrics["train" if self.model.training else "eval"]
            with torch.no_grad():
                right_P = (logratio_gap_P > 0).float()
                found["rewards/accuracies"].append(right_P.mean().item())
                found["rewards/margins"].append((self.beta * logratio_gap_P).mean().item())
                found["rewards/wanted"].append((self.eta * gap_P).mean().item())

    return PreferenceTrainer


def _with_gaps(collate: Any, torch: Any) -> Any:
    """A collator that brings the differences of rewards along."""

    def collated(examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = collate(examples)
        gaps = [float(example[GAP]) for example in examples]
        batch[GAP] = torch.tensor(gaps, dtype=torch.float32)
        return batch

    return collated
