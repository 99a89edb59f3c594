"""A comparison in its five forms: the same numbers in each, and words from elsewhere that stay words."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from auditor.reports import comparison_view
from auditor.reports.comparison import FILENAMES, render
from auditor.reports.comparison_svg import dumbbell
from auditor.reports.comparison_view import view
from auditor.reports.html import policy, stylesheet

from auditor.compare import compare
from auditor.comparison import Comparison
from auditor.entry import Entry
from auditor.metrics import by_class, measure
from auditor.points import points
from auditor.record import Outcome, Status

Make = Callable[..., Entry]
Parse = Callable[[str], Any]
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></title></svg><iframe src=https://example.org>",
    "{{ 7 * 7 }}",
    "\u202egnp.tac\u202c\x00\x1b[2J",
    "' onmouseover='alert(1)",
    "=HYPERLINK(1)",
    "@team | [a](https://example.org) `x`\n# head",
    "x" * 5000,
]


def changed(outcome: Outcome) -> Outcome:
    """Every third broken sample is robust, every seventh robust one broken: by a rule, so that the answer is known."""
    if outcome.status is Status.BROKEN and outcome.id % 3 == 0:
        return msgspec.structs.replace(
            outcome, status=Status.WITHSTOOD, attack=None, distance=None, adversarial_label=None
        )
    if outcome.status is Status.WITHSTOOD and outcome.id % 7 == 0:
        return msgspec.structs.replace(outcome, status=Status.BROKEN, attack="odi", distance=0.03, adversarial_label=0)
    return outcome


@pytest.fixture
def compared(entry: Make) -> Callable[..., Comparison]:
    """compared(name=…, **record_of's arguments): a record against what became of it, by the rule of `changed`."""

    def make(name: str = "int8.onnx", others: int = 1, **changes: Any) -> Comparison:
        before = entry(evidence=False, **changes)
        outcomes = [changed(outcome) for outcome in before.record.outcomes]
        names = tuple(before.record.class_names) if before.record.class_names else None
        after = msgspec.structs.replace(
            before.record,
            outcomes=outcomes,
            metrics=measure(outcomes, certified=False),
            by_class=by_class(outcomes, names),
        )
        return compare(
            [before]
            + [
                Entry(
                    msgspec.structs.replace(after, model=msgspec.structs.replace(after.model, name=f"{name}{i or ''}")),
                    before.folder / str(i),
                )
                for i in range(others)
            ]
        )

    return make


def spaces(text: str) -> str:
    return text.replace("\u202f", " ").replace("\u2060", "").replace("\xa0", " ")


def test_the_numbers_agree_in_every_form(compared: Callable[..., Comparison], parse: Parse) -> None:
    found = compared(n=300, names=["cat", "dog", "fox"])
    (c,) = found.contrasts
    assert c.robust.only_baseline
    assert c.robust.only_other
    told = json.loads(render(found, "json"))["contrasts"][0]
    rows = list(csv.DictReader(io.StringIO(render(found, "csv"), newline="")))
    lines = [line.split("  ") for line in render(found, "text").splitlines()]
    text = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    marks = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in spaces(render(found, "markdown")).splitlines()
    ]
    page = parse(render(found, "html"))

    def expected(one: Any) -> tuple[str, ...]:
        low, high = one.interval
        return (
            f"≤ {one.baseline * 100:.1f} %",
            f"≤ {one.other * 100:.1f} %",
            points(one.difference, one.n),
            f"{points(low, one.n)} to {points(high, one.n)}",
        )

    wanted = [("Robust accuracy", c.robust, told["robust"]), *((r.name, r.robust, t["robust"]) for r, t in zip(
        c.classes, told["classes"], strict=True))]  # fmt: skip
    assert len(wanted) == 4
    for name, one, said in wanted:
        shown = expected(one)
        assert any(tuple(row[:5]) == (name, *shown) for row in text), name
        assert any(tuple(cell.replace("\\", "") for cell in row[:5]) == (name, *shown) for row in marks), name
        table = page.table("On the same samples" if one is c.robust else "Robust accuracy by class")
        (row,) = [[spaces(cell) for cell in row] for row in table if row[0] == name]
        assert tuple(row[2:6]) == shown
        assert (said["difference"], said["p"], said["p_holm"]) == (one.difference, one.p, one.p_holm)
        (line,) = [r for r in rows if r["rate"] == "robust" and r["name"] == ("" if one is c.robust else name)]
        for key, value in (("difference", one.difference), ("p", one.p), ("low", one.interval[0]), ("n", one.n)):
            assert float(line[key]) == value
        assert (line["baseline_rate"], line["only_baseline"]) == (repr(one.baseline), str(one.only_baseline))
    for form in ("text", "markdown", "html"):
        whole = parse(render(found, form)).text if form == "html" else html.unescape(render(found, form))
        plain = spaces(whole).replace("\\", "")
        assert c.sentence in plain
        assert f"{c.robust.both}" in plain
    assert [flip["id"] for flip in told["lost"]] == [flip.id for flip in c.lost]
    assert [row[0] for row in page.table("Fell: ")] == [str(flip.id) for flip in c.lost]


def hostile(found: Comparison, word: Callable[[], str]) -> Comparison:
    """The comparison with these words wherever a stranger's text can come from."""
    replace = msgspec.structs.replace
    return replace(
        found,
        version=word(),
        threat=replace(found.threat, norm=word(), epsilon_text=word(), access=word()),
        sides=[replace(s, name=word(), folder=word(), model=word(), threat=word(), trust=word()) for s in found.sides],
        contrasts=[
            replace(
                c, baseline=word(), other=word(), sentence=word(), by_class=word(), notes=[word()], threats=[word()],
                classes=[replace(row, name=word()) for row in c.classes],
                lost=[replace(f, name=word(), wrong_name=word(), attack=word()) for f in c.lost],
                gained=[replace(f, name=word(), wrong_name=word(), attack=word()) for f in c.gained],
            )
            for c in found.contrasts
        ],
    )  # fmt: skip


@pytest.mark.parametrize("turn", range(len(HOSTILE)))
def test_hostile_words_stay_words(compared: Callable[..., Comparison], parse: Parse, turn: int) -> None:
    found = compared(n=60)

    def words(kinds: list[str]) -> Callable[[], str]:
        state = iter(range(10**6))
        return lambda: kinds[(next(state) + turn) % len(kinds)]

    bad, good = hostile(found, words(HOSTILE)), hostile(found, words(["harmless"]))
    page, harmless = parse(render(bad, "html")), parse(render(good, "html"))
    assert page.tags == harmless.tags
    assert {(t, a) for t, a, _ in page.attributes} - {("bdi", "title")} == {(t, a) for t, a, _ in harmless.attributes}
    assert page.style == str(stylesheet())
    assert "{{ 7 * 7 }}" in page.text
    hidden = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
    for form in ("text", "markdown", "html"):
        assert not hidden.search(render(bad, form)), form
    marked = render(bad, "markdown")
    assert "<script" not in marked
    assert "https://" not in marked
    assert marked.count("\n# ") == render(good, "markdown").count("\n# ")
    for row in csv.reader(io.StringIO(render(bad, "csv"), newline="")):
        assert not [cell for cell in row if cell.startswith(("=", "@"))]
    assert len(json.loads(render(bad, "json"))["contrasts"]) == 1


def test_hostile_names_in_records_stay_words_in_the_sentences(
    compared: Callable[..., Comparison], parse: Parse
) -> None:
    found = compared(name="<b>\u202e", names=["<script>", "x" * 5000, "\x1b[2J"], n=120)
    assert len(found.contrasts[0].sentence) < 600
    assert len(found.contrasts[0].by_class) < 600
    page = parse(render(found, "html"))
    assert "script" not in page.tags
    assert not re.search("[\x1b\u202e]", render(found, "text"))
    assert html.escape("<b>") in render(found, "html")


def test_the_page_runs_and_fetches_nothing(compared: Callable[..., Comparison], parse: Parse) -> None:
    page = parse(render(compared(n=300, others=2), "html"))
    assert not {"script", "iframe", "object", "form", "img"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on")
        assert name != "style"
        assert "://" not in value
        if name in ("href", "src"):
            assert value.startswith("#" if tag == "a" else "data:")
    (content,) = [value for value in page.values("content") if "default-src" in value]
    assert content == policy(page.style)
    anchors = [value for tag, name, value in page.attributes if tag == "a" and name == "href"]
    assert {anchor[1:] for anchor in anchors} <= set(page.values("id"))


def test_every_table_has_a_caption_and_stacks_on_a_phone(compared: Callable[..., Comparison], parse: Parse) -> None:
    page = parse(render(compared(n=300), "html"))
    assert page.tags.count("table") == page.tags.count("caption")
    assert page.tags.count("th") > 20
    assert "95 % interval" in page.values("data-label")
    assert all(value for value in page.values("aria-label"))


def test_several_records_have_a_table_on_top(compared: Callable[..., Comparison], parse: Parse) -> None:
    page = parse(render(compared(n=60, others=2), "html"))
    assert [row[0] for row in page.table("Robust accuracy, an upper bound")] == ["int8.onnx", "int8.onnx1"]
    assert page.tags.count("h1") == 1
    assert page.tags.count("article") == 2


def test_a_dumbbell_s_lengths_are_the_numbers() -> None:
    root = ElementTree.fromstring(dumbbell(0.6, 0.4, (-0.3, -0.1), "cat"))
    _, band = root.findall("rect")
    assert (band.get("x"), band.get("width"), band.get("class")) == ("40.000%", "20.000%", "broken")
    lines = [(m.get("class"), m.get("x1"), m.get("x2")) for m in root.findall("line")]
    assert ("whisker", "30.000%", "50.000%") in lines
    assert ("tick", "60.000%", "60.000%") in lines
    (dot,) = root.findall("circle")
    assert (dot.get("cx"), dot.get("class")) == ("40.000%", "broken")
    assert all(mark.findtext("title") == "cat" for mark in root)
    assert all(mark.get("fill") or mark.get("stroke") for mark in root)


def test_a_gain_has_the_other_colour_and_the_whisker_stays_inside() -> None:
    root = ElementTree.fromstring(dumbbell(0.9, 1.0, (-0.05, 0.3), "cat"))
    assert [m.get("class") for m in root.findall("circle")] == ["withstood"]
    assert max(float(str(m.get("x2")).rstrip("%")) for m in root.findall("line")) == 100
    assert [m.tag for m in ElementTree.fromstring(dumbbell(None, None, None, "nothing"))] == ["rect"]


def test_of_many_classes_the_most_changed_are_shown_in_order(
    compared: Callable[..., Comparison], parse: Parse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison_view, "CLASSES", 4)
    found = compared(n=600, classes=9)
    (c,) = found.contrasts
    moves = [row.robust.difference or 0.0 for row in c.classes]
    assert moves == sorted(moves)
    (shown,) = view(found).contrasts
    kept = {line.name for line in shown.classes}
    most = sorted(c.classes, key=lambda row: -abs(row.robust.difference or 0.0))[:4]
    assert kept == {row.name for row in most}
    assert [line.name for line in shown.classes] == [row.name for row in c.classes if row.name in kept]
    assert "the 4 of 9 classes that changed most; 5 are not shown" in shown.classes_note
    assert shown.classes_note in parse(render(found, "html")).text
    assert len(json.loads(render(found, "json"))["contrasts"][0]["classes"]) == 9


def test_flips_that_are_left_out_are_counted(compared: Callable[..., Comparison], parse: Parse) -> None:
    found = compared(n=900)
    (c,) = found.contrasts
    assert len(c.gained) > 40
    page = parse(render(found, "html"))
    assert len(page.table("Gained: ")) == 40
    assert f"Gained: the first 40 of {len(c.gained)} samples; the format json has them all" in page.text
    assert "details" in page.tags


def test_what_is_left_out_of_the_pairs_is_said(compared: Callable[..., Comparison]) -> None:
    found = compared(n=60)
    (c,) = found.contrasts
    left = msgspec.structs.replace(c, left_out={"unattacked": 1, "error": 2})
    shown = render(msgspec.structs.replace(found, contrasts=[left]), "text")
    assert "3 samples are left out (1 not attacked, 2 ended in an error, in either record)" in shown


def test_certified_accuracy_is_a_lower_bound(compared: Callable[..., Comparison]) -> None:
    found = compared(n=60)
    (c,) = found.contrasts
    proved = msgspec.structs.replace(found, contrasts=[msgspec.structs.replace(c, certified=c.robust)])
    (line,) = [line for line in view(proved).contrasts[0].rates if line.name == "Certified accuracy"]
    assert line.baseline.startswith("≥")


Near = list[tuple[float | None, float | None]]


@pytest.fixture
def moved(entry: Make, compared: Callable[..., Comparison]) -> Callable[[Near], Comparison]:
    """moved(distances in the two records, sample by sample) -> a comparison with these."""

    def made(near: Near, side: int) -> Entry:
        outcomes = [
            Outcome(id=i, label=0, clean_label=0, status=Status.WITHSTOOD, nearest=pair[side], ranged=True)
            for i, pair in enumerate(near)
        ]
        return entry(outcomes=outcomes, evidence=False)

    def make(near: Near) -> Comparison:
        found = compared(n=60)
        (c,) = compare([made(near, 0), made(near, 1)]).contrasts
        contrasts = [msgspec.structs.replace(found.contrasts[0], distances=c.distances)]
        return msgspec.structs.replace(found, contrasts=contrasts)

    return make


@pytest.mark.parametrize(
    ("near", "said", "told"),
    [
        (
            [(1.0, 1.5)] * 8,
            "8 have one in both, 0 in robust.onnx alone, 0 in int8.onnx alone, 0 in neither. Sample by sample, over "
            "the 8 that have one, the nearest example's distance changes by +0.5 in the median (95 % interval +0.5 to "
            "+0.5). The medians over all 8 are 1 for robust.onnx and 1.5 for int8.onnx.",
            {"difference": "0.5", "low": "0.5", "high": "0.5", "baseline_distance": "1.0", "beyond": ""},
        ),
        (
            [(1.0, 0.9)] * 4 + [(1.0, None)] * 5,
            "4 have one in both, 5 in robust.onnx alone, 0 in int8.onnx alone, 0 in neither. Sample by sample, over "
            "the 9 that have one, the nearest example's distance in the median goes beyond reach: int8.onnx has none "
            "(95 % interval −0.1 to beyond reach). The medians over all 9 are 1 for robust.onnx and beyond reach for",
            {
                "difference": "",
                "high": "",
                "other_distance": "",
                "only_baseline": "5",
                "beyond": "other: beyond reach; difference: beyond reach; high: beyond reach",
            },
        ),
        (
            [(0.9, 1.0)] * 4 + [(None, 1.0)] * 5,
            "in the median comes into reach: int8.onnx alone has one (95 % interval into reach to +0.1).",
            {"difference": "", "low": "", "beyond": "baseline: beyond reach; difference: into reach; low: into reach"},
        ),
        (
            [(1.0, None)] * 2 + [(None, 1.0)] * 2,
            "distance goes beyond reach for one half and comes into reach for the other.",
            {"difference": "", "beyond": "baseline: beyond reach; other: beyond reach; difference: either way"},
        ),
        (
            [(None, None)] * 2,
            "2 in neither. So no distance changes. The medians over all 2 are beyond reach for robust.onnx and beyond",
            {"neither": "2", "beyond": "baseline: beyond reach; other: beyond reach"},
        ),
    ],
)
def test_distances_in_every_form(
    moved: Callable[[Near], Comparison],
    parse: Parse,
    near: Near,
    said: str,
    told: dict[str, str],
) -> None:
    found = moved(near)
    assert said in spaces(render(found, "text"))
    assert said in spaces(html.unescape(render(found, "markdown"))).replace("\\", "")
    assert said in spaces(parse(render(found, "html")).text)
    (line,) = [r for r in csv.DictReader(io.StringIO(render(found, "csv"), newline="")) if r["rate"] == "distance"]
    assert {key: line[key] for key in told} == told
    assert line["n"] == str(len(near))
    raw = render(found, "json")
    assert not re.search(r"\b(Infinity|NaN|inf|nan)\b", raw)
    own = json.loads(raw)["contrasts"][0]["distances"]
    assert "; ".join(f"{name}: {word}" for name, word in own["beyond"].items()) == told["beyond"]
    assert (own["difference"] is None) is ("difference" in own["beyond"] or own["neither"] == own["n"])


def test_distances_that_one_record_did_not_look_for_are_no_distances(moved: Callable[[Near], Comparison]) -> None:
    found = moved([(1.0, 1.0)] * 3)
    (c,) = found.contrasts
    assert c.distances is not None
    some = msgspec.structs.replace(c.distances, not_looked=2)
    none = msgspec.structs.replace(c.distances, n=0, not_looked=3, baseline=None, other=None, difference=None)
    for one, said in (
        (some, "nearest adversarial example (linf), not for 2 more that they do."),
        (none, "Distances can't be compared: of 3 samples that both models classify correctly there is none for which"),
    ):
        contrasts = [msgspec.structs.replace(c, distances=one)]
        assert said in render(msgspec.structs.replace(found, contrasts=contrasts), "text")


def test_other_threats_are_warned_of(compared: Callable[..., Comparison], parse: Parse) -> None:
    found = msgspec.structs.replace(compared(n=60), across_threats=True)
    assert "of different threats" in render(found, "text")
    assert "of different threats" in render(found, "markdown")
    assert "of different threats" in parse(render(found, "html")).text


def test_files_have_their_names(tmp_path: Path) -> None:
    assert FILENAMES == {
        "markdown": "comparison.md",
        "html": "comparison.html",
        "json": "comparison.json",
        "csv": "comparison.csv",
    }


def test_markdown_rows_have_as_many_cells(compared: Callable[..., Comparison]) -> None:
    text = render(compared(names=["a|b", "c\nd", "`e`"]), "markdown")
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
