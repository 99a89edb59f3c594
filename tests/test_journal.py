"""The journal: what was finished comes back bit for bit; what is torn, foreign or out of turn does not."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auditor.errors import RecordError
from auditor.journal import BLOCKS, JOURNAL, Journal, write_whole
from auditor.ledger import UnitResult

HEADER = {"schema": 1, "plan_digest": "abc", "execution": {"device": "cpu", "threads": 1, "width": 64}}


def unit(seed: int, *, error: str | None = None) -> UnitResult:
    """A result with nothing round in it: two of five samples broken, one of them lost."""
    rng = np.random.default_rng(seed)
    return UnitResult(
        index=np.arange(5) + 5 * seed,
        broken=np.array([True, False, True, False, False]),
        lost=np.array([False, False, False, False, True]),
        full=np.array([True, True, True, True, False]),
        margin=np.array([-0.1, 0.3, -np.inf, np.inf, 1 / 3]),
        best=rng.normal(size=(5, 2, 3)).astype(np.float32),
        spent=rng.integers(0, 100, (5, 3)),
        adversarial=rng.normal(size=(2, 2, 3)).astype(np.float32),
        label=np.array([3, 1]),
        distance=rng.random(2),
        rejected={"outside the ball": seed},
        error=error,
        seconds=0.1 + seed,
    )


def same(left: UnitResult, right: UnitResult) -> bool:
    def equal(a: Any, b: Any) -> bool:
        if isinstance(a, np.ndarray):
            return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        return bool(a == b)

    return all(equal(getattr(left, f.name), getattr(right, f.name)) for f in fields(UnitResult))


def written(folder: Path, units: int = 3) -> None:
    journal = Journal(folder, HEADER, resume=False)
    for i in range(units):
        journal.write((0, i), unit(i, error="ValueError: boom" if i == 1 else None))


def resumed(folder: Path) -> Journal:
    return Journal(folder, HEADER, resume=True)


def test_what_was_finished_comes_back_bit_for_bit(tmp_path: Path) -> None:
    written(tmp_path)
    done = resumed(tmp_path).done
    assert list(done) == [(0, 0), (0, 1), (0, 2)]
    assert all(same(done[0, i], unit(i, error="ValueError: boom" if i == 1 else None)) for i in range(3))


def test_without_resume_it_starts_anew(tmp_path: Path) -> None:
    written(tmp_path)
    assert Journal(tmp_path, HEADER, resume=False).done == {}
    assert resumed(tmp_path).done == {}


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    written(tmp_path, 2)
    resumed(tmp_path).write((1, 0), unit(7))
    done = resumed(tmp_path).done
    assert list(done) == [(0, 0), (0, 1), (1, 0)]
    assert same(done[1, 0], unit(7))


def cut_last_line(folder: Path) -> None:
    text = (folder / JOURNAL).read_text()
    (folder / JOURNAL).write_text(text[:-20])


def cut_last_block(folder: Path) -> None:
    block = folder / BLOCKS / "000-00002.npz"
    block.write_bytes(block.read_bytes()[:200])


def empty_last_block(folder: Path) -> None:
    (folder / BLOCKS / "000-00002.npz").write_bytes(b"")


def spoil_last_block(folder: Path) -> None:
    block = folder / BLOCKS / "000-00002.npz"
    content = bytearray(block.read_bytes())
    content[len(content) // 3] ^= 1
    block.write_bytes(bytes(content))


def lose_last_block(folder: Path) -> None:
    (folder / BLOCKS / "000-00002.npz").unlink()


def garbage_last_line(folder: Path) -> None:
    with (folder / JOURNAL).open("ab") as file:
        file.write(b"\xff\x00 3\n")


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (cut_last_line, 2),
        (cut_last_block, 2),
        (empty_last_block, 2),
        (spoil_last_block, 2),
        (lose_last_block, 2),
        (garbage_last_line, 3),
    ],
)
def test_a_torn_end_is_dropped_and_written_again(tmp_path: Path, damage: Callable[[Path], None], left: int) -> None:
    written(tmp_path)
    damage(tmp_path)
    journal = resumed(tmp_path)
    assert len(journal.done) == left
    journal.write((0, 2), unit(2))
    done = resumed(tmp_path).done
    assert list(done) == [(0, 0), (0, 1), (0, 2)]
    assert same(done[0, 2], unit(2))


def test_what_follows_a_torn_unit_is_dropped_too(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / BLOCKS / "000-00000.npz").write_bytes(b"PK")
    assert resumed(tmp_path).done == {}


@pytest.mark.parametrize("content", [b"", b'{"schema"', b"3\n", b"[]\n", b"\xff\xff\n"])
def test_a_torn_header_means_a_new_start(tmp_path: Path, content: bytes) -> None:
    written(tmp_path)
    (tmp_path / JOURNAL).write_bytes(content)
    assert resumed(tmp_path).done == {}
    assert json.loads((tmp_path / JOURNAL).read_text()) == HEADER


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"plan_digest": "abd"}, "another plan digest"),
        ({"execution": {"device": "cuda", "threads": 1, "width": 64}}, "another execution"),
        ({"execution": {"device": "cpu", "threads": 1, "width": 32}}, "another execution"),
        ({"schema": 2}, "another schema"),
    ],
)
def test_another_plan_or_execution_is_refused_and_left_alone(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    written(tmp_path)
    before = (tmp_path / JOURNAL).read_bytes()
    with pytest.raises(RecordError, match=f"the journal of {named}"):
        Journal(tmp_path, HEADER | change, resume=True)
    assert (tmp_path / JOURNAL).read_bytes() == before
    assert len(resumed(tmp_path).done) == 3


def test_the_block_is_on_disk_before_the_line_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = __import__("os").fsync

    def fsync(number: int) -> None:
        synced.append(Path(f"/proc/self/fd/{number}").resolve().name)
        real(number)

    journal = Journal(tmp_path, HEADER, resume=False)
    monkeypatch.setattr("auditor.journal.os.fsync", fsync)
    journal.write((0, 0), unit(0))
    assert synced == ["000-00000.npz", JOURNAL]


def test_close_takes_everything_away(tmp_path: Path) -> None:
    written(tmp_path)
    resumed(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "audit.json"
    write_whole(path, b"first")
    assert path.read_bytes() == b"first"

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("auditor.journal.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"second")
    assert path.read_bytes() == b"first"
    assert [file.name for file in path.parent.iterdir()] == ["audit.json"]
