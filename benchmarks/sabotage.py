"""Breaks our own code on purpose: every mutation in `mutations.toml` must make one of the tests it names fail.

    python -m benchmarks.sabotage [--only WORD]… [--jobs 2]

Each mutation is one edit of one file, applied to a copy of the checkout. First the named tests are run on the untouched
copy, where they must pass, and the copy must be what is imported there; then on each mutation, where one must fail. A
mutation that no test notices is a hole in the tests: the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_name("mutations.toml")
LEFT_BEHIND = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "advaudit-out", "build", "dist")
PACKAGES = {"plugins": "auditor.plugins", "reports": "auditor.reports"}
"""Folders that are packages under another name; in an installed tree they lie inside `auditor`."""
SECONDS, UNTOUCHED = 300.0, 1800.0
"""Limit of one mutation's tests, and of all of them on the untouched copy."""
PYTEST = ("-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", "--timeout=120")
FAILED, PASSED = 1, 0
"""What pytest returns where a test failed, and where all passed."""


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """One way to break the code. `old` stands exactly once in `file`; tests: what pytest is to run, one must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: list[str]

    @property
    def module(self) -> str:
        """The mutated file as it is imported."""
        top, *rest = Path(self.file).with_suffix("").parts
        return ".".join([PACKAGES.get(top, top), *rest])

    def applied(self, text: str) -> str:
        """The file's text, broken. Raises SystemExit where the list no longer fits the code."""
        if text.count(self.old) != 1:
            raise SystemExit(f"{self.name}: its text stands {text.count(self.old)} times in {self.file}, not once.")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Result:
    """What the tests made of a mutation: caught, SURVIVED, or why it proves nothing."""

    mutation: Mutation
    verdict: str
    witness: str
    seconds: float


def mutations() -> list[Mutation]:
    """The list, in its order."""
    return [Mutation(**table) for table in tomllib.loads(LIST.read_text(encoding="utf-8"))["mutation"]]


def copied(folder: Path) -> Path:
    """A copy of the checkout in which `auditor.plugins` and `auditor.reports` are its own, not the installed ones."""
    copy = folder / "copy"
    shutil.copytree(ROOT, copy, ignore=LEFT_BEHIND, symlinks=True)
    for name in PACKAGES:
        (copy / "auditor" / name).symlink_to(copy / name, target_is_directory=True)
    return copy


def python(copy: Path, *arguments: str, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
    """Run Python in the copy, with the copy first on its path and no compiled files."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )


def tested(copy: Path, tests: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Run tests in the copy, up to the first that fails."""
    return python(copy, *PYTEST, *tests, seconds=seconds)


def check_untouched(copy: Path, listed: list[Mutation]) -> None:
    """Raise SystemExit unless the copy is what runs, and all named tests pass on it."""
    modules = sorted({mutation.module for mutation in listed})
    script = "import importlib, sys\nfor name in sys.argv[1:]: print(importlib.import_module(name).__file__)"
    found = python(copy, "-c", script, *modules)
    elsewhere = [path for path in found.stdout.split() if not Path(path).resolve().is_relative_to(copy.resolve())]
    if found.returncode or elsewhere or len(found.stdout.split()) != len(modules):
        raise SystemExit(f"The copy should be what runs; {elsewhere or found.stderr.strip()} is not of it.")
    whole = tested(copy, sorted({test for mutation in listed for test in mutation.tests}), UNTOUCHED)
    if whole.returncode != PASSED:
        raise SystemExit(f"The named tests should pass on untouched code, they do not:\n{whole.stdout[-4000:]}")


def judged(copy: Path, mutation: Mutation) -> Result:
    """Break the copy, run the tests, mend it."""
    began = time.monotonic()
    with broken(copy, mutation):
        try:
            run = tested(copy, mutation.tests, SECONDS)
        except subprocess.TimeoutExpired:
            return Result(mutation, "HANGS", "", time.monotonic() - began)
    lines = run.stdout.splitlines()
    witness = next((line.split(" - ")[0].split("::")[-1] for line in lines if line.startswith("FAILED")), "")
    if run.returncode == FAILED and witness:
        return Result(mutation, "caught", witness, time.monotonic() - began)
    verdict = "SURVIVED" if run.returncode == PASSED else f"NO TEST (pytest returned {run.returncode})"
    return Result(mutation, verdict, lines[-1] if lines else "", time.monotonic() - began)


@contextmanager
def broken(copy: Path, mutation: Mutation) -> Iterator[None]:
    """The copy with this mutation in it."""
    path = copy / mutation.file
    text = path.read_text(encoding="utf-8")
    path.write_text(mutation.applied(text), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(text, encoding="utf-8")


def play(listed: list[Mutation], jobs: int) -> Iterator[Result]:
    """Every mutation's result in order, several at a time, each job in a copy of its own."""
    with TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            copies.put(copied(Path(folder) / str(number)))
        first = copies.get()
        check_untouched(first, listed)
        copies.put(first)

        def turn(mutation: Mutation) -> Result:
            copy = copies.get()
            try:
                return judged(copy, mutation)
            finally:
                copies.put(copy)

        yield from pool.map(turn, listed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="WORD", help="mutations whose name or file has this word")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    words = options.only or [""]
    listed = [m for m in mutations() if any(word in m.name or word in m.file for word in words)]
    if not listed:
        raise SystemExit(f"No mutation has {' or '.join(words)} in its name or file.")
    began = time.monotonic()
    results = []
    for result in play(listed, options.jobs):
        print(f"{result.verdict:9} {result.mutation.name:58} {result.seconds:5.1f} s  {result.witness}", flush=True)
        results.append(result)
    left = [result for result in results if result.verdict != "caught"]
    print(f"{len(results) - len(left)} of {len(results)} mutations caught in {time.monotonic() - began:.0f} s.")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
