"""The ready-made wiring: it parses, may do no more than it must, and ends as the scan ended, on the bundled models.

Every wiring runs with a stand-in for `advaudit` that ends with each exit code; with the real one, which takes ten
seconds, one runs here and all of them among the slow tests.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from plans import quick_plan

ROOT = Path(__file__).resolve().parents[1]
CI, MNIST = ROOT / "examples" / "ci", ROOT / "examples" / "mnist"
WORKFLOW, ACTION = CI / "github" / "workflow.yml", CI / "github" / "action.yml"
GITLAB, JENKINS = CI / "gitlab-ci.yml", CI / "Jenkinsfile"
LOCAL_HOOK, REMOTE_HOOK = CI / "pre-commit" / ".pre-commit-config.yaml", ROOT / ".pre-commit-hooks.yaml"
PLAN = quick_plan(at_least=0.5)
STAND_IN = """#!/bin/sh
out=advaudit-out
while [ $# -gt 0 ]; do
  if [ "$1" = --out ]; then out="$2"; fi
  if [ "$1" = --format ]; then formats="$formats $2"; fi
  echo "$1" >> told.txt
  shift
done
echo '::error::a word of the model'
case "$CODE" in 0|1|3)
  mkdir -p "$out"
  for format in $formats; do case "$format" in
    annotations) echo "::notice::$format" > "$out/annotations.txt" ;;
    github) echo "# $format" > "$out/github.md" ;;
  esac; done ;;
esac
exit "$CODE"
"""


@dataclass(frozen=True)
class Done:
    """How the commands of a wiring ended, and what they left for the server."""

    code: int
    out: str
    summary: str
    outputs: dict[str, str]
    told: list[str] = field(default_factory=list)


Run = Callable[..., Done]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(path: Path) -> list[dict[str, Any]]:
    """Every step of a workflow or an action."""
    tree = read(path)
    jobs = tree["jobs"].values() if "jobs" in tree else [tree["runs"]]
    return [step for job in jobs for step in job["steps"]]


def scanning(path: Path, inputs: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The commands that scan, and the variables that the server gives them."""
    if path in (WORKFLOW, ACTION):
        (step,) = (step for step in steps(path) if "advaudit scan" in step.get("run", ""))
        given = {name: value["default"] for name, value in read(ACTION)["inputs"].items() if "default" in value}
        known = {f"${{{{ inputs.{name} }}}}": value for name, value in (given | inputs).items()}
        return step["run"], {name: known[value] for name, value in step.get("env", {}).items()}
    if path == GITLAB:
        return "\n".join(read(path)["robustness"]["script"]), {}
    if path == JENKINS:
        commands = re.findall(r"^\s*sh '([^'\n]*)'", path.read_text(encoding="utf-8"), re.MULTILINE)
        return "\n".join(command for command in commands if " pip " not in command), {}
    if path == LOCAL_HOOK:
        return read(path)["repos"][0]["hooks"][0]["entry"], {}
    return f"{read(REMOTE_HOOK)[0]['entry']} model.onnx --config audit.toml", {}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """run(wiring, file=…) with the real command, run(wiring, code=…) with the stand-in; in a shell that knows nothing
    of ours, as a server starts it."""

    def run(path: Path, *, file: str = "", code: int | None = None, **inputs: str) -> Done:
        tmp_path.joinpath("audit.toml").write_text(PLAN, encoding="utf-8")
        bin_ = tmp_path / "bin"
        bin_.mkdir(exist_ok=True)
        python = Path(sys.executable).parent
        if code is None:
            shutil.copy(MNIST / file, tmp_path / "model.onnx")
            shutil.copy(MNIST / "samples.npz", tmp_path)
        else:
            (bin_ / "advaudit").write_text(STAND_IN, encoding="utf-8")
            (bin_ / "advaudit").chmod(0o755)
        command, env = scanning(path, {"model": "model.onnx", **inputs})
        files = {name: tmp_path / name for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command],
            cwd=tmp_path,
            env={
                "PATH": f"{bin_}:{python}:/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8", "CODE": str(code),
                **{name: str(left) for name, left in files.items()}, **env,
            },
            capture_output=True,
            text=True,
        )  # fmt: skip
        summary, outputs = (left.read_text("utf-8") if left.exists() else "" for left in files.values())
        told = (tmp_path / "told.txt").read_text("utf-8").splitlines() if code is not None else []
        return Done(
            done.returncode, done.stdout + done.stderr, summary,
            dict(line.split("=", 1) for line in outputs.splitlines()), told,
        )  # fmt: skip

    return run


WIRINGS = [WORKFLOW, ACTION, GITLAB, JENKINS, LOCAL_HOOK, REMOTE_HOOK]
NAMES = [path.name for path in WIRINGS]


@pytest.mark.parametrize("code", [0, 1, 2, 3])
@pytest.mark.parametrize("path", WIRINGS, ids=NAMES)
def test_it_ends_as_the_scan_ended(run: Run, path: Path, code: int) -> None:
    done = run(path, code=code)
    assert done.code == code, done.out
    assert done.told[0] == "scan"
    assert "--require-gate" in done.told  # whoever deletes the rules gets no green
    if path in (WORKFLOW, ACTION):
        reported = code != 2
        assert (done.summary == "# github\n") == reported
        assert ("\n::notice::annotations\n" in done.out) == reported
        assert done.outputs == ({"exit-code": str(code)} if path == ACTION else {"reports": "true"} if reported else {})


@pytest.mark.parametrize("path", [WORKFLOW, ACTION], ids=["workflow", "action"])
def test_words_of_the_model_are_no_commands(run: Run, path: Path) -> None:
    """GitHub obeys nothing between a stop and its token, which nobody else can know."""
    first, second = run(path, code=1).out, run(path, code=1).out
    (stop,) = re.findall(r"^::stop-commands::([0-9a-f]{32})$", first, re.MULTILINE)
    assert stop not in second
    inside = first.split(f"::stop-commands::{stop}\n")[1].split(f"::{stop}::\n")[0]
    assert inside == "::error::a word of the model\n"


@pytest.mark.parametrize(
    "word", ["$(touch broken)", "`touch broken`", '"; touch broken; "', "'; touch broken #", "-x", "a b", "*"]
)
def test_inputs_stay_words(run: Run, tmp_path: Path, word: str) -> None:
    inputs = {"model": word, "config": word, "fail-under": word}
    done = run(ACTION, code=0, **inputs)
    assert done.code == 0, done.out
    assert not (tmp_path / "broken").exists()
    for option in ("--config", "--fail-under", "--"):
        assert done.told[done.told.index(option) + 1] == word


def test_the_workflow_fails_with_its_reports(run: Run, tmp_path: Path) -> None:
    done = run(WORKFLOW, file="natural.onnx")
    assert done.code == 1, done.out
    assert done.summary.startswith("## Failed: model.onnx linf 0.3\n")
    assert "::error file=audit.toml,line=15,title=Failed%3A robust accuracy at least 0.5::model.onnx linf" in done.out
    assert done.outputs == {"reports": "true"}
    left = {path.name for path in (tmp_path / "advaudit-out").iterdir()}
    assert left >= {"audit.json", "report.html", "tables", "advaudit.sarif", "junit.xml"}


@pytest.mark.slow
@pytest.mark.parametrize(("file", "code"), [("natural.onnx", 1), ("robust.onnx", 0)])
@pytest.mark.parametrize("path", WIRINGS, ids=NAMES)
def test_every_wiring_runs(run: Run, path: Path, file: str, code: int) -> None:
    done = run(path, file=file)
    assert done.code == code, done.out
    assert f"{'FAILED' if code else 'PASSED'}: robust accuracy at least 0.5" in done.out


def test_every_step_is_pinned_and_knows_no_text_from_outside() -> None:
    for path in (WORKFLOW, ACTION):
        for step in steps(path):
            assert "${{" not in step.get("run", ""), step
            if "uses" in step:
                assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step["uses"]), step
                assert re.search(re.escape(step["uses"]) + r" # v\d+\.\d+\.\d+$", path.read_text("utf-8"), re.MULTILINE)
    assert "${" not in JENKINS.read_text(encoding="utf-8")


def test_no_job_may_do_more_than_it_must() -> None:
    tree = read(WORKFLOW)
    assert tree["permissions"] == {}
    assert tree[True].keys() == {"pull_request", "push"}  # YAML 1.1 reads `on` as true; never pull_request_target
    assert {name: job["permissions"] for name, job in tree["jobs"].items()} == {
        "audit": {"contents": "read"},
        "code-scanning": {"contents": "read", "security-events": "write"},
    }
    for name, job in tree["jobs"].items():
        sees = any("checkout" in step.get("uses", "") or "run" in step for step in job["steps"])
        assert sees == (name == "audit")  # what may write runs nothing of ours or the model's
        assert job["timeout-minutes"] <= 60
    (checkout,) = (step for step in steps(WORKFLOW) if "checkout" in step.get("uses", ""))
    assert checkout["with"] == {"persist-credentials": False}


def test_reports_are_kept_whatever_the_gate_says() -> None:
    for path in (WORKFLOW, ACTION):
        (upload,) = (step for step in steps(path) if "upload-artifact" in step.get("uses", ""))
        assert upload["if"] == "always()"
    assert read(WORKFLOW)["jobs"]["code-scanning"]["if"].startswith("always() && ")
    artifacts = read(GITLAB)["robustness"]["artifacts"]
    assert artifacts["when"] == "always"
    assert artifacts["reports"] == {"junit": "advaudit-out/junit.xml"}
    post = JENKINS.read_text(encoding="utf-8").split("post {")[1]
    assert re.search(r"always \{\s*junit .*\s*archiveArtifacts ", post)


def test_they_install_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    for path in (WORKFLOW, GITLAB, JENKINS, LOCAL_HOOK):
        assert re.findall(r"advaudit==([\w.]+)", path.read_text(encoding="utf-8")) == [version], path.name
    assert read(ACTION)["inputs"]["version"]["default"] == version


def test_the_hooks_say_when_they_run() -> None:
    (local,), (remote,) = read(LOCAL_HOOK)["repos"][0]["hooks"], read(REMOTE_HOOK)
    for hook in (local, remote):
        assert hook["id"] == "advaudit"
        assert hook["language"] == "python"
        assert hook["pass_filenames"] is False
        assert "--overwrite" in hook["entry"]  # the next push finds the last one's record
        audited = {"model.onnx", "audit.toml", "ci/policy.toml", "samples.npz", "data/rows.csv"}
        assert {name for name in {*audited, "README.md", "a.py"} if re.search(hook["files"], name)} == audited


def test_the_page_shows_them_all() -> None:
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    for path in WIRINGS:
        assert f"]({os.path.relpath(path, ROOT / 'docs')})" in page, path.name
