"""Reports are written whole, where they belong, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pluggy
import pytest
from click.testing import CliRunner
from records import outcomes, record

from auditor.cli import main
from auditor.entry import Entry
from auditor.errors import PluginError, RecordError, UsageError
from auditor.folder import OURS, write_record
from auditor.host import Host, Reporter
from auditor.record import AUDIT
from auditor.rendering import check_formats, render
from auditor.scan import FORMATS
from auditor.section import Section


def host(content: Any, filename: Any = "out.txt") -> Host:
    """A host whose one format `it` renders this, or what this function makes of the entries."""
    function: Callable[..., Any] = content if callable(content) else lambda entries: content
    return Host(pluggy.PluginManager("advaudit"), reporters={"it": Reporter(function, filename)})


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    return [Entry(record(outcomes("wb")), tmp_path / "record")]


def written(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("content", "raw"), [("é", b"\xc3\xa9"), (b"\x00\xff", b"\x00\xff"), ("a\r\n", b"a\r\n")])
def test_a_file(content: str | bytes, raw: bytes, entries: list[Entry], tmp_path: Path) -> None:
    assert render(host(content), entries, ["it"], tmp_path) == [tmp_path / "out.txt"]
    assert written(tmp_path) == {"out.txt": raw}


def test_a_folder_of_files(entries: list[Entry], tmp_path: Path) -> None:
    files = {"a.csv": "a", "more/b.bin": b"b"}
    assert render(host(files, "tables"), entries, iter(["it"]), tmp_path) == [tmp_path / "tables"]
    assert written(tmp_path) == {"tables/a.csv": b"a", "tables/more/b.bin": b"b"}


@pytest.mark.parametrize(
    "name",
    ["../a", "/tmp/a", "a/../../b", "..", ".", "", "\\\\server\\share\\a", "C:\\a", "C:a", "a\\..\\..\\b", None, 3],
)
def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_written(
    name: Any, entries: list[Entry], tmp_path: Path
) -> None:
    folder = tmp_path / "inside" / "it"
    for bad in (host({"good.csv": "a", name: "b"}, "tables"), host("a", name)):
        with pytest.raises(PluginError, match=r"format it should name a file below .*; the record is complete"):
            render(bad, entries, ["it"], folder)
    assert written(tmp_path) == {}


@pytest.mark.parametrize("name", OURS)
def test_the_record_s_own_files_are_not_a_report_s(name: str, entries: list[Entry], tmp_path: Path) -> None:
    for bad in (host("", name), host({"a": ""}, name), host({name: ""}, "tables")):
        with pytest.raises(PluginError, match="none of the record's own"):
            render(bad, entries, ["it"], tmp_path)


def test_a_link_does_not_lead_out_of_the_folder(entries: list[Entry], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "record").mkdir()
    (tmp_path / "record" / "tables").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RecordError, match="is a link that leads out"):
        render(host({"a.csv": "a"}, "tables"), entries, ["it"], tmp_path / "record")
    assert written(tmp_path / "elsewhere") == {}


@pytest.mark.parametrize("content", [None, 3, {"a.csv": None}, {"a.csv": 3}, "\ud800", ["a"]])
def test_what_is_no_content_is_the_format_s_fault(content: Any, entries: list[Entry], tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"format it failed .*advaudit report"):
        render(host(content), entries, ["it"], tmp_path)
    assert written(tmp_path) == {}


def test_a_format_that_raises_is_named(entries: list[Entry], tmp_path: Path) -> None:
    def lost(entries: list[Entry]) -> str:
        raise ValueError("lost")

    def torn(entries: list[Entry]) -> str:
        raise RecordError("torn")

    with pytest.raises(PluginError, match=r"format it failed \(ValueError: lost\); the record is complete"):
        render(host(lost), entries, ["it"], tmp_path)
    with pytest.raises(RecordError, match=r"^torn$"):
        render(host(torn), entries, ["it"], tmp_path)


def test_a_disk_that_refuses_is_told(entries: list[Entry], tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(RecordError, match=r"a\.csv can't be written \(.*\)\."):
        render(host({"a.csv": "a"}, "tables"), entries, ["it"], tmp_path)


def test_an_unknown_format_is_a_usage_error(entries: list[Entry], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="A report format is one of it, got 'pdf'"):
        render(host("a"), entries, ["it", "pdf"], tmp_path)
    assert written(tmp_path) == {}
    check_formats(host("a"), ["it"])


def test_sections_go_to_the_formats_that_take_them(entries: list[Entry], tmp_path: Path) -> None:
    given: list[Any] = []

    def takes(entries: list[Entry], *, sections: Any = ()) -> str:
        given.append(sections)
        return ""

    def takes_none(entries: list[Entry], **options: Any) -> str:
        given.append(options)
        return ""

    mine = Section("mine", "Mine", tmp_path, "mine.html", lambda entry: None)
    for function in (takes, takes_none):
        made = host(function)
        made.sections["mine"] = mine
        render(made, entries, ["it"], tmp_path)
    assert given == [(mine,), {}]


def test_a_scan_writes_tables_beside_its_page() -> None:
    assert FORMATS == ("html", "csv")
    check_formats(Host.load(installed=False), FORMATS)


def test_report_writes_the_tables_of_several_records_into_one_folder(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_record(tmp_path / name, record(outcomes("wbw"), command=name))
    before = written(tmp_path)
    folders = [str(tmp_path / name) for name in ("one", "two")]
    result = CliRunner().invoke(main, ["report", *folders, "--format", "csv", "--out", str(tmp_path / "both")])
    assert result.exit_code == 0, result.output
    assert result.output == f"{tmp_path / 'both' / 'tables'}\n"
    samples = (tmp_path / "both" / "tables" / "samples.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in samples] == [
        "record",
        *["model linf 8/255"] * 3,
        *["model linf 8/255 (2)"] * 3,
    ]
    assert {name: raw for name, raw in written(tmp_path).items() if AUDIT in name} == before


def test_tables_are_written_anew(tmp_path: Path) -> None:
    """Every file each time, so that none is left of a record that lay there before."""
    whole = Host.load(installed=False)
    render(whole, [Entry(record(outcomes("bbb")), tmp_path)], ["csv"], tmp_path)
    before = written(tmp_path)
    render(whole, [Entry(record(outcomes("w")), tmp_path)], ["csv"], tmp_path)
    after = written(tmp_path)
    assert set(after) == set(before)
    assert after["tables/samples.csv"].count(b"\n") == 2


def test_a_format_that_exits_does_not_end_the_scan(entries: list[Entry], tmp_path: Path) -> None:
    def leaves(entries: list[Entry]) -> str:
        raise SystemExit(0)

    with pytest.raises(PluginError, match="SystemExit"):
        render(host(leaves), entries, ["it"], tmp_path)
