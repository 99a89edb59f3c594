"""The fixture `advaudit`: a scan as a test, which fails where the gate does not pass.

Loaded by every pytest run of an environment that has advaudit, so nothing heavy is imported before a test asks for it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from auditor.record import Record
    from auditor.scan import Scanned

Advaudit = Callable[..., "Record"]
"""advaudit(model, data=None, *, config=None, fail_under=None, **options) -> Record."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("advaudit", "adversarial robustness (advaudit)")
    group.addoption(
        "--advaudit-out",
        metavar="DIR",
        help="Keep the records and reports of the fixture `advaudit` below DIR, a folder for each test.",
    )


@pytest.fixture
def advaudit(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Advaudit:
    """advaudit(model, data=None, *, config=None, fail_under=None, **options) -> Record.

    Scans the model as `advaudit scan` does, with that command's options under the names of its parameters, and fails
    the test unless the gate passes: `fail_under`, the `[[gate]]` tables of the config, or both. Costs what the scan
    costs. Of several threats all are judged, and the first one's record is returned.
    """
    used = 0

    def run(
        model: str | Path,
        data: str | Path | None = None,
        *,
        config: str | Path | None = None,
        fail_under: float | None = None,
        **options: Any,
    ) -> Record:
        __tracebackhide__ = True
        nonlocal used
        used += 1
        given = {"data": data, "config": config, "fail_under": fail_under, **options}
        if given.get("out") is None:
            given |= {"out": _folder(request, tmp_path_factory, used), "overwrite": True}
        return _passed(str(model), given)

    return run


def _folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, number: int) -> Path:
    """Where the record of a test goes; several scans of one test have a folder each. The hash keeps apart what a name
    made of plain characters does not."""
    kept = request.config.getoption("--advaudit-out")
    if not kept:
        return tmp_path_factory.mktemp("advaudit")
    node = request.node.nodeid
    name = re.sub(r"[^A-Za-z0-9.]+", "-", node).strip("-.")[-200:]
    name += f"-{hashlib.sha256(node.encode(errors='surrogatepass')).hexdigest()[:8]}"
    return Path(request.config.invocation_params.dir, kept, f"{name}-{number}" if number > 1 else name)


def _passed(model: str, given: dict[str, Any]) -> Record:
    """The record of a scan that passed; the test fails with what is to be read, and no traceback, where none did."""
    __tracebackhide__ = True
    from auditor.cli import quiet_threads

    quiet_threads()  # before torch is loaded
    from auditor.errors import AdvauditError
    from auditor.events import silent
    from auditor.foreign import harmless
    from auditor.judgement import Verdict
    from auditor.options import scan_command, scan_options
    from auditor.scan import scan

    try:
        options = scan_options(given) | {"require_gate": True}
        done = scan(model, options, None, silent, command=scan_command(model, given))
    except AdvauditError as error:
        failure = harmless(f"advaudit could not audit {model}: {error}")
    else:
        if done.verdict is Verdict.PASSED:
            return done.entries[0].record
        failure = "\n".join(_told(done))
    pytest.fail(failure, pytrace=False)


def _told(done: Scanned) -> list[str]:
    """The verdict, then each record's sentence with the rules that did not pass, and where to read on."""
    from auditor.foreign import harmless
    from auditor.judgement import Verdict
    from auditor.verdict import rule_line

    inconclusive = done.verdict is Verdict.INCONCLUSIVE
    lines = [f"advaudit: {done.verdict}" + (", which is no pass: a rule can't be decided" if inconclusive else "")]
    for entry in done.entries:
        lines += [harmless(f"{entry.record.model.name}: {entry.record.summary}")]
        for row in entry.record.gate.rules:
            if row.status is not Verdict.PASSED:
                lines += [f"  {rule_line(row)}"]
    return [*lines, *(harmless(f"Report: {path}") for path in done.reports[:1])]
