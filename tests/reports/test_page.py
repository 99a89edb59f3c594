"""What the page says: the record's numbers, what each word means, what was not computed and why."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from math import nan
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np
from auditor.reports.html import render

from auditor.entry import Entry
from auditor.hardness import CurvePoint
from auditor.record import FindingStatus, Outcome, Severity, Status

Make = Callable[..., Entry]
Parse = Callable[[str], Any]


def percent(value: float, n: int) -> str:
    return f"{value * 100:.1f} %" if n >= 100 else f"{value * 100:.0f} %"


def test_the_numbers_are_the_record_s(entry: Make, parse: Parse) -> None:
    made = entry(n=450, names=["cat", "dog", "fox"], curve=[CurvePoint(epsilon=0.01, robust_accuracy=0.8)])
    record, page = made.record, parse(render([made]))
    n = record.samples.n
    assert record.metrics.robust_accuracy is not None
    assert record.metrics.clean_accuracy is not None
    assert record.metrics.attack_success_rate is not None
    assert f"Robust accuracy ≤ {percent(record.metrics.robust_accuracy, n)}" in page.text.replace("\u202f", " ")
    assert record.summary.replace(" ", "") in re.sub(r"\s", "", page.text)
    assert page.table("What happened") == [
        [status, str(k), percent(k / n, n), page.table("What happened")[row][3]]
        for row, (status, k) in enumerate(
            sorted(
                ((status, k) for status, k in record.metrics.statuses.items() if k),
                key=lambda item: ["certified", "withstood", "unattacked", "error", "broken", "misclassified"].index(
                    item[0]
                ),
            )
        )
    ]
    rows = {row[0]: row for row in page.table("By class")}
    for own in record.by_class:
        assert own.robust_accuracy is not None
        assert own.interval is not None
        assert own.clean_accuracy is not None
        shown = rows[own.name]
        assert shown[2] == f"≤ {percent(own.robust_accuracy, own.n)}"
        assert shown[3] == f"{own.interval[0] * 100:.0f}–{own.interval[1] * 100:.0f}"
        assert shown[4:6] == [percent(own.clean_accuracy, own.n), str(own.n)]
    stages = page.table("Stage by stage")
    for attack in record.attacks:
        shown = next(row for row in stages if row[0] == f"{attack.name} {attack.access}")
        assert shown[1] == attack.status
        assert shown[4:9] == [
            str(v) for v in (attack.entered, attack.broken, attack.forwards, attack.backwards, attack.queries)
        ]
    assert stages[-1][0] == "All stages"
    assert int(stages[-1][2]) == sum(attack.broken for attack in record.attacks)
    assert page.table("Each rule")[0][:4] == [
        record.gate.rules[0].rule, "failed", f"≤ {percent(record.metrics.robust_accuracy, n)}", "50 %",
    ]  # fmt: skip
    assert page.table("Robust accuracy in percent") == [["0.01", "≤ 80.0 %"]]
    assert page.table("How well the twin agrees") == [
        ["Clean samples", "120", "99.2 %", "0.00213"],
        ["Verified adversarial examples", "40", "90 %", "0.0457"],
    ]
    assert page.table("Why verification refused them") == [
        ["apgd dlr ×3", "outside the ball", "13"],
        ["apgd dlr ×3", "not misclassified", "4"],
    ]


def test_everything_that_explains_a_number_is_there(entry: Make, parse: Parse) -> None:
    made = entry()
    record, text = made.record, parse(render([made])).text
    for finding in record.findings:
        for part in (finding.id, finding.status, finding.title, finding.explanation, finding.advice, finding.source):
            assert part in text
    for attack in record.attacks:
        assert attack.reason is None or attack.reason in text
    for plugin in record.tool.plugins:
        assert plugin.name in text
        assert plugin.sha256 in text
    model = record.model
    for part in [
        record.command, record.plan_digest, record.outcomes_digest, record.tool.version, model.path, model.sha256,
        model.output, *model.runtime.values(), *model.surrogates, *model.defenses, record.threat.epsilon_text,
        record.samples.digest, record.samples.source, "2 unreadable picture", "1 × 12 × 12",
        *record.environment.values(), record.execution["device"], record.trust, record.masking, "1 min 23 s",
        "mean 0.485", "steps 40, rel_step 0.075", "ImportError: no module named oracle",
    ]:  # fmt: skip
        assert part in text.replace("\u202f", " ")


def test_statuses_are_six_words_each_with_its_meaning_and_those_that_nobody_has_are_named(
    entry: Make, parse: Parse
) -> None:
    outcomes = [
        Outcome(id=i, label=0, clean_label=int(status is Status.MISCLASSIFIED), status=status, adversarial_label=1)
        for i, status in enumerate(Status)
    ]
    rows = parse(render([entry(outcomes=outcomes)])).table("What happened")
    assert {row[0] for row in rows} == {str(status) for status in Status}
    assert len({row[3] for row in rows}) == 6
    page = parse(render([entry(outcomes=outcomes[:4])]))
    assert len(page.table("What happened")) == 4
    gone = [str(status) for status in (Status.UNATTACKED, Status.ERROR)]
    assert f"No sample is {' or '.join(gone)}." in page.text


def test_what_was_not_computed_is_said_with_its_reason(entry: Make, parse: Parse) -> None:
    outcomes = [Outcome(id=i, label=i % 3, clean_label=i % 3, status=Status.UNATTACKED) for i in range(40)]
    made = entry(
        outcomes=outcomes, attacks=[], findings=[], fidelity=None, masking="unknown", trust="unknown", command="",
        evidence=False,
    )  # fmt: skip
    made = Entry(msgspec.structs.replace(made.record, complete=False), made.folder)
    page = parse(render([made]))
    text = page.text
    for words in (
        "No attack judged any of the 40 samples",
        "No certifier ran",
        "No sample was both classified correctly and attacked",
        "This scan did not finish",
        "The suite is empty: nothing was attacked",
        "No check ran",
        "No adversarial example was found",
        "there is no twin to compare",
        "The command was not recorded",
        "inconclusive",
    ):
        assert words in text
    assert page.table("By class")[0][2:5] == ["not computed", "not computed", "100 %"]
    assert not re.search(r"\b(nan|NaN|None|null|inf)\b", text)


def test_not_a_number_is_never_printed(entry: Make, parse: Parse) -> None:
    made = entry()
    replace = msgspec.structs.replace
    record = made.record
    record = replace(
        record,
        metrics=replace(
            record.metrics, robust_accuracy=nan, clean_accuracy=nan, robust_accuracy_interval=None,
            attack_success_rate=nan, certified_accuracy=nan,
        ),
        by_class=[replace(row, robust_accuracy=nan, clean_accuracy=nan, interval=None) for row in record.by_class],
        attacks=[replace(row, seconds=nan, parameters={"alpha": nan}) for row in record.attacks],
        findings=[replace(finding, value=nan, threshold=nan) for finding in record.findings],
        curve=[CurvePoint(epsilon=nan, robust_accuracy=nan)],
        seconds=nan,
        outcomes=[replace(o, distance=nan) for o in record.outcomes],
        threat=replace(record.threat, epsilon=nan, epsilon_text=""),
        fidelity=None,
    )  # fmt: skip
    html = render([Entry(record, made.folder)])
    assert not re.search(r"\bnan\b", re.sub(r"data:image/png;base64,[^\"]*", "", html), re.IGNORECASE)
    assert "not computed" in parse(html).text


def test_sixty_pictures_of_noise_fit_in_three_megabytes(entry: Make, parse: Parse) -> None:
    made = entry(shape=(3, 160, 160), n=90)
    noise = np.random.default_rng(0).random((40, 3, 224, 224)).astype(np.float32)
    ids = [o.id for o in made.record.outcomes if o.adversarial_label is not None][:40]
    np.savez(
        made.folder / "evidence.npz",
        id=np.array(ids),
        x=noise[: len(ids)],
        x_adv=np.clip(noise[: len(ids)] + 0.03, 0, 1),
        label=np.zeros(len(ids), int),
        adversarial_label=np.ones(len(ids), int),
    )
    assert len(render([made])) < 3_000_000
    assert len(render([made] * 4)) < 3_000_000


def test_sixty_pictures_are_shown_where_they_fit(entry: Make, parse: Parse) -> None:
    html = render([entry(shape=(3, 32, 32))])
    page = parse(html)
    assert page.tags.count("img") == 60
    assert len(html) < 1_000_000
    alts = page.values("alt")
    assert len(set(alts)) == 60
    assert all(re.search(r"\d", alt) for alt in alts)


def test_a_page_of_ten_classes_and_sixty_pictures_is_well_under_three_megabytes(entry: Make, parse: Parse) -> None:
    html = render([entry(shape=(3, 32, 32), n=500, classes=10, hardness={})])
    assert parse(html).tags.count("img") == 60
    assert len(html) < 1_500_000


def test_sections_come_in_the_order_of_the_reader_s_questions(entry: Make) -> None:
    html = render([entry(classes=5, hardness={})])
    order = [
        "name",
        "gate",
        "result",
        "belief",
        "weakness",
        "classes",
        "pairs",
        "distance",
        "gallery",
        "effort",
        "next",
    ]
    places = [html.index(f'id="a1-{part}"') for part in (*order, "provenance")]
    assert places == sorted(places)


def test_every_mark_of_every_chart_has_a_title(entry: Make) -> None:
    html = render([entry(classes=5, hardness={})])
    charts = [chart for chart in re.findall(r"<svg.*?</svg>", html, re.DOTALL) if "aria-hidden" not in chart]
    assert len(charts) > 10
    for chart in charts:
        for mark in ElementTree.fromstring(chart).iter():
            if mark.tag in ("rect", "line", "circle", "path") and mark.get("class") != "grid":
                assert mark.findtext("title"), chart[:200]


def test_several_records_share_a_page_and_a_summary(entry: Make, parse: Parse) -> None:
    made = [entry(), entry(n=30, seed=3), entry(classes=2)]
    page = parse(render(made))
    rows = page.table("Robust accuracy is an upper bound")
    assert [row[2] for row in rows] == ["120", "30", "120"]
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {href[1:] for tag, name, href in page.attributes if tag == "a" and name == "href"} <= set(ids)
    assert page.tags.count("h1") == 1
    assert page.tags.count("article") == 3


def test_no_record_is_a_page_that_says_so(parse: Parse) -> None:
    assert "No record was given" in parse(render([])).text


def test_structure_that_a_screen_reader_needs(entry: Make, parse: Parse) -> None:
    whole = entry(classes=5, hardness={})
    for made in ([entry(curve=[CurvePoint(epsilon=0.1, robust_accuracy=0.5)])], [whole], [whole, entry()]):
        page = parse(render(made))
        levels = [int(tag[1]) for tag in page.tags if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        assert ("html", "lang", "en") in page.attributes
        assert page.tags.count("main") == 1
        assert page.tags.count("th") == sum(tag == "th" and name == "scope" for tag, name, _ in page.attributes)
        assert page.tags.count("table") == page.tags.count("caption")
        assert page.tags.count("img") == len(page.values("alt"))
        described = sum(tag == "svg" and name in ("aria-label", "aria-hidden") for tag, name, _ in page.attributes)
        assert page.tags.count("svg") == described
        ids = set(page.values("id"))
        assert {id for value in page.values("aria-labelledby") for id in value.split()} <= ids
        assert ("a", "href", "#main") in page.attributes
        assert "main" in ids


def test_findings_come_by_urgency(entry: Make) -> None:
    made = entry()
    finding = made.record.findings[0]
    order = [
        ("f-critical", FindingStatus.RAISED, Severity.CRITICAL),
        ("f-warning", FindingStatus.RAISED, Severity.WARNING),
        ("f-open", FindingStatus.INCONCLUSIVE, Severity.CRITICAL),
        ("f-clear", FindingStatus.CLEAR, Severity.CRITICAL),
    ]
    findings = [msgspec.structs.replace(finding, id=i, status=s, severity=v) for i, s, v in reversed(order)]
    html = render([Entry(msgspec.structs.replace(made.record, findings=findings), made.folder)])
    places = [html.index(f"<code>{id}</code>") for id, _, _ in order]
    assert places == sorted(places)
