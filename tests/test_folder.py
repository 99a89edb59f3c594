"""The record's directory: claimed for one scan, cleared of our own files only, whole at every moment."""

from __future__ import annotations

import errno
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from records import outcomes, record

from auditor.entry import read_record
from auditor.errors import RecordError, UsageError
from auditor.execution import Execution
from auditor.folder import WITNESS, Folder, claim, clear, write_arrays
from auditor.journal import BLOCKS, JOURNAL
from auditor.record import AUDIT, EVIDENCE

PLAN = {"model": {"sha256": "1"}, "seed": 0}
EVIDENCE_OF_NONE = {"id": np.zeros(0, np.int64), "x_adv": np.zeros((0, 4), np.float32)}


def job(out: Path, **options: Any) -> Any:
    fields = {"out": out, "resume": False, "overwrite": False, "execution": Execution(device="cpu", threads=1)}
    fields |= {"plugins": [], "target": SimpleNamespace(runtime={"name": "numpy"})}
    return SimpleNamespace(**(fields | options))


def finish(out: Path, **options: Any) -> None:
    with Folder.open(job(out, **options), PLAN) as folder:
        folder.finish(record(outcomes("w")), EVIDENCE_OF_NONE, {})


def stop(out: Path, plan: dict[str, Any] = PLAN, **options: Any) -> None:
    with Folder.open(job(out, **options), plan):
        pass


def test_a_finished_record_is_complete_and_leaves_no_journal(tmp_path: Path) -> None:
    finish(tmp_path / "deep" / "out")
    assert read_record(tmp_path / "deep" / "out").complete
    assert sorted(path.name for path in (tmp_path / "deep" / "out").iterdir()) == [AUDIT, EVIDENCE]


def test_a_witness_is_kept_with_it(tmp_path: Path) -> None:
    with Folder.open(job(tmp_path), PLAN) as folder:
        folder.finish(record(outcomes("c")), EVIDENCE_OF_NONE, {"affine.weight": np.ones(3)})
    with np.load(tmp_path / WITNESS) as arrays:
        assert arrays["affine.weight"].tolist() == [1, 1, 1]


def test_a_stopped_scan_leaves_a_journal_and_no_record(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Folder.open(job(tmp_path), PLAN):
        raise KeyboardInterrupt
    assert sorted(path.name for path in tmp_path.iterdir()) == [BLOCKS, JOURNAL]


@pytest.mark.parametrize(
    ("state", "options", "refused"),
    [
        ("nothing", {}, None),
        ("nothing", {"resume": True}, None),
        ("nothing", {"overwrite": True}, None),
        ("stopped", {}, "give --resume to go on with it, or --overwrite"),
        ("stopped", {"resume": True}, None),
        ("stopped", {"overwrite": True}, None),
        ("finished", {}, "holds a complete record already"),
        ("finished", {"resume": True}, None),
        ("finished", {"overwrite": True}, None),
        ("file", {}, "is a file; give another"),
        ("file", {"overwrite": True}, "is a file; give another"),
        ("nothing", {"resume": True, "overwrite": True}, "give one of them"),
    ],
)
def test_who_may_write_where(tmp_path: Path, state: str, options: dict[str, bool], refused: str | None) -> None:
    out = tmp_path / "out"
    if state == "stopped":
        stop(out)
    elif state == "finished":
        finish(out)
    elif state == "file":
        out.write_text("mine")
    with pytest.raises(UsageError, match=refused) if refused else nullcontext():
        claim(out, **({"resume": False, "overwrite": False} | options))
    with pytest.raises(UsageError) if refused else nullcontext():
        finish(out, **options)
    if state == "file":
        assert out.read_text() == "mine"


def test_overwriting_takes_away_what_is_ours_and_nothing_else(tmp_path: Path) -> None:
    stop(tmp_path)
    (tmp_path / BLOCKS / "000-00000.npz").touch()
    (tmp_path / "notes.txt").write_text("mine")
    for name in (AUDIT, EVIDENCE, WITNESS):
        (tmp_path / name).touch()
    clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("plan", "options"),
    [
        (PLAN | {"seed": 1}, {}),
        (PLAN, {"execution": Execution(device="cpu", threads=2)}),
        (PLAN, {"execution": Execution(device="cpu", threads=1, precision="float64")}),
    ],
)
def test_a_journal_of_another_plan_or_execution_is_not_resumed(
    tmp_path: Path, plan: dict[str, Any], options: dict[str, Any]
) -> None:
    stop(tmp_path)
    before = (tmp_path / JOURNAL).read_bytes()
    with pytest.raises(RecordError, match="the journal of another"):
        stop(tmp_path, plan, resume=True, **options)
    assert (tmp_path / JOURNAL).read_bytes() == before
    stop(tmp_path, dict(reversed(PLAN.items())), resume=True)  # the order of a plan's keys says nothing


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("auditor.journal.os.fsync", full)
    with pytest.raises(RecordError, match=r"can't be written \(No space left on device\); free space"):
        finish(tmp_path)


@pytest.mark.parametrize("at", [EVIDENCE, AUDIT])
def test_a_disk_that_fills_at_the_end_leaves_no_half_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    whole = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.name == at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(RecordError, match="free space"):
            finish(tmp_path)
    assert not (tmp_path / AUDIT).exists()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]
    finish(tmp_path, resume=True)
    assert read_record(tmp_path).complete


def test_arrays_are_written_whole(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", {"x": np.arange(5)})
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["x"].tolist() == [0, 1, 2, 3, 4]
