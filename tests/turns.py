"""In which order files of tests are run, and which of them by the same worker."""

from __future__ import annotations

from typing import Any

import pytest

# Files that take ten seconds and more: begun first, so that all workers end at the same time.
LONG = (
    "test_ray_faults.py", "test_ray_memory.py", "test_pages_browser.py", "test_fault_replies.py",
    "test_ray_runs.py", "test_fault_kills.py", "test_code.py", "test_docs_site.py",
    "test_fault_journal.py", "test_run_browser.py", "test_reward_head.py", "test_rows_pages.py",
    "test_shipped.py", "test_rounds.py", "test_stores.py", "test_check.py", "test_embedded.py",
    "test_review_page.py", "test_limits_width.py", "test_limits_pace.py",
    "test_embedded_complete.py", "test_how_to.py", "test_reward_model.py",
    "test_lift_statistics.py", "test_kernel.py", "test_transformers.py", "test_weights.py",
    "test_models_page.py", "test_compare_page.py", "test_fault_network.py",
    "test_self_instruct.py", "test_gateway_schemathesis.py", "test_quickstart.py",
    "test_prompts.py", "test_exchange.py", "test_evolve.py", "test_notebook.py",
    "test_run_on_a_cluster.py", "test_fault_disk.py", "test_playground_page.py",
    "test_ray_two_nodes.py", "test_tutorial.py",
)  # fmt: skip
# What one worker does alone: it imports torch, or starts Ray, for all of them.
TOGETHER = {
    "ray": ("executors/test_ray",),
    "torch": (
        "training/", "lifting/", "cycling/", "rewards/test_transformers", "exporters/test_trl",
        "exporters/test_nemo_rl", "models/test_adapters", "models/test_gguf_heads",
    ),
    "gateway": ("web/gateway/",),
}  # fmt: skip
LAST = "test_public_names.py"  # asks mypy, which has by then read all of karat in `make types`


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> int:
        name = item.path.name
        return LONG.index(name) if name in LONG else len(LONG) + (name == LAST)

    items.sort(key=turn)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile` a file is for one worker, and so are the files of TOGETHER."""
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            below = file.removeprefix("tests/")
            return next((name for name, at in TOGETHER.items() if below.startswith(at)), file)

    return Together(config, log) if config.getvalue("dist") == "loadfile" else None
