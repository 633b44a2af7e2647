"""Columns that outlive a process."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from karat.curation.spool import Spool, file_key


def test_a_spool_goes_on_where_it_last_committed(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with suppress(KeyboardInterrupt), Spool(folder, "a") as spool:
        one, two = spool.column("one", np.uint32), spool.column("two", np.float32, 3)
        one.extend(np.arange(5))
        two.extend(np.ones((2, 3)))
        spool.commit(2)
        one.extend(np.arange(100))
        raise KeyboardInterrupt
    with Spool(folder, "a") as spool:
        assert spool.rows == 2
        one, two = spool.column("one", np.uint32), spool.column("two", np.float32, 3)
        one.extend(np.array([9]))
        assert one.values.tolist() == [0, 1, 2, 3, 4, 9]
        assert two.values.tolist() == [[1, 1, 1]] * 2
        assert one.values.dtype == np.uint32
    assert not folder.exists()


def test_another_key_begins_anew_and_so_does_a_broken_folder(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    for spoil in ("key", "short", "state"):
        with suppress(KeyboardInterrupt), Spool(folder, "a") as spool:
            spool.column("one", np.uint8).extend(np.arange(9))
            spool.commit(9)
            raise KeyboardInterrupt
        if spoil == "short":
            (folder / "one.bin").write_bytes(b"1")
        elif spoil == "state":
            (folder / "state.json").write_text("{")
        with Spool(folder, "b" if spoil == "key" else "a") as again:
            assert again.rows == 0
            assert len(again.column("one", np.uint8).values) == 0


def test_in_memory() -> None:
    with Spool() as spool:
        column = spool.column("one", np.int64, 2)
        for _ in range(3):
            column.extend(np.ones((700, 2)))
        spool.commit(7)
        assert column.values.shape == (2100, 2)
        assert spool.rows == 7


def test_a_key_changes_with_the_file_and_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12")
    keys = {file_key(path, "x"), file_key(path, "y")}
    path.write_bytes(b"13")
    assert len(keys | {file_key(path, "x")}) == 3
