"""A corpus of hostile files against the command line: each is audited, or refused in one sentence; nothing else.

    python -m benchmarks.hostile [--count 1000] [--jobs 2] [--seed 0] [--only WORD]

A scan that dies, hangs, prints a traceback, says more than a sentence, or calls an example a break which onnxruntime
does not misclassify, is a failure; its file is kept in `.benchmarks/hostile`, and the exit code is 1. A large file may
take long as long as its scan goes on: "slow" is no failure. Scans run in long-lived processes that call the command
line in-process; one that dies or hangs is replaced.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.corpus import Hostile, corpus
from benchmarks.second_opinion import disputed
from benchmarks.specimens import SAMPLES

KEPT = Path(".benchmarks") / "hostile"
SECONDS = 60.0
"""What one scan gets."""
SILENCE = 30.0
"""Seconds without a sign of progress after which a scan that is stopped is said to hang."""
MEMORY = 14 << 30
"""Bytes of address space of a worker."""
RUN = "[run]\ntimeout = 5.0\nmemory = 4294967296\n"
"""Limits on one run of a file, lower than the usual ones so that endless files cost less."""
WORDS = 1500
"""Characters that a sentence may have at most."""


@dataclass(frozen=True)
class Verdict:
    """outcome: "audited", "refused", "slow", or in what way it failed. said: the sentence, or details of a failure."""

    file: Hostile
    outcome: str
    said: str
    seconds: float

    @property
    def failed(self) -> bool:
        return self.outcome not in ("audited", "refused", "slow")


class Worker:
    """One process that scans file after file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "audit.toml").write_text(RUN)
        self.start()

    def start(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "ADVAUDIT_DEBUG": ""}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.hostile", "--serve", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.answers: queue.Queue[str] = queue.Queue()
        self.pump = threading.Thread(target=_pump, args=(self.process.stdout, self.answers), daemon=True)
        self.pump.start()

    def scan(self, file: Hostile, seconds: float = SECONDS) -> Verdict:
        """What the command line made of the file."""
        place = self.folder / "files"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        (place / "m.onnx").write_bytes(file.data)
        for name, data in file.beside.items():
            (place / name).write_bytes(data)
        for name, target in file.links.items():
            (place / name).symlink_to(target)
        began = time.monotonic()
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):  # a dead process is seen by its answer
                self.process.stdin.write("scan\n")
                self.process.stdin.flush()
        try:
            answer = self.answers.get(timeout=seconds)
        except queue.Empty:
            silent = time.time() - (self.folder / "said.txt").stat().st_mtime
            self.stop()
            self.start()
            outcome = "hung" if silent > SILENCE else "slow"
            return Verdict(file, outcome, f"stopped after {seconds:g} s, silent for {silent:.0f} s", seconds)
        took = time.monotonic() - began
        if not answer:
            code = self.process.wait()
            said = (self.folder / "said.txt").read_text(errors="replace")[-500:]
            self.stop()
            self.start()
            return Verdict(file, "died", f"exit code {code}: {said}", took)
        result = json.loads(answer)
        return Verdict(file, *judged(result), took)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.pump.join()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


def _pump(stream: Any, answers: queue.Queue[str]) -> None:
    for line in stream:
        answers.put(line)
    answers.put("")


def judged(result: dict[str, Any]) -> tuple[str, str]:
    """Outcome and words, from a worker's answer."""
    code, replayed = result["code"], result["replayed"]
    text = "\n".join(line for line in result["said"].splitlines() if not line.startswith("{")).strip()
    if "Traceback" in text or result["error"]:
        return "traceback", result["error"] or text[-1000:]
    if "failed unexpectedly" in text:
        return "unexpected error", text[-1000:]
    if code in (0, 1, 3):
        return ("audited", f"exit code {code}") if not replayed else ("verdict not shared", replayed)
    if code != 2:
        return "odd exit code", f"{code}: {text[-500:]}"
    if not text.startswith("Error: ") or "\n" in text or len(text) > WORDS:
        return "not one sentence", text[:2000]
    if not text.isprintable():
        return "not printable", repr(text[:500])
    return "refused", text.removeprefix("Error: ")


def serve(folder: Path) -> None:
    """The worker's life: for each line of standard input one scan, and one line of JSON as the answer."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    said = (folder / "said.txt").open("w+b")
    os.dup2(said.fileno(), 1)
    os.dup2(said.fileno(), 2)
    from auditor.cli import main

    model, out = folder / "files" / "m.onnx", folder / "out"
    arguments = ["scan", str(model), "--data", str(SAMPLES), "--epsilon", "0.1", "--limit", "16", "--suite", "quick"]
    arguments += [
        "--go-on",
        "--overwrite",
        "--out",
        str(out),
        "--progress",
        "json",
        "--config",
        str(folder / "audit.toml"),
    ]
    for _ in sys.stdin:
        said.truncate(0)
        said.seek(0)
        shutil.rmtree(out, ignore_errors=True)
        code, error = -1, ""
        try:
            main.main(args=arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException as failure:  # whatever comes through is the finding
            error = f"{type(failure).__name__}: {failure}"
        sys.stdout.flush()
        sys.stderr.flush()
        said.seek(0)
        try:
            replayed = disputed(model, out) if code in (0, 1, 3) else ""
        except Exception as failure:
            replayed = f"{type(failure).__name__}: {failure}"
        result = {"code": code, "said": said.read().decode(errors="replace"), "error": error, "replayed": replayed}
        answers.write(json.dumps(result) + "\n")
        answers.flush()


def scan_all(files: Iterable[Hostile], jobs: int, seconds: float = SECONDS) -> Iterator[Verdict]:
    """The verdict on every file, as they come."""
    waiting = iter(files)
    lock, verdicts = threading.Lock(), queue.Queue[Verdict | None]()

    def work(folder: Path) -> None:
        worker = Worker(folder)
        try:
            while True:
                with lock:
                    file = next(waiting, None)
                if file is None:
                    return
                verdicts.put(worker.scan(file, seconds))
        finally:
            worker.stop()
            verdicts.put(None)

    with tempfile.TemporaryDirectory(prefix="hostile-") as root:
        threads = [threading.Thread(target=work, args=(Path(root) / str(job),)) for job in range(jobs)]
        for thread in threads:
            thread.start()
        left = jobs
        while left:
            verdict = verdicts.get()
            left -= verdict is None
            if verdict is not None:
                yield verdict
        for thread in threads:
            thread.join()


def keep(verdict: Verdict) -> None:
    """Leave the file of a failure where it can be looked at."""
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{verdict.file.name}.onnx").write_bytes(verdict.file.data)
    for name, data in verdict.file.beside.items():
        with suppress(OSError):
            (KEPT / name).write_bytes(data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds or names that hold this word")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return 0
    files = (f for f in corpus(options.count, options.seed) if options.only in f.kind or options.only in f.name)
    outcomes: Counter[str] = Counter()
    kinds: dict[str, Counter[str]] = {}
    failures: list[Verdict] = []
    began = time.monotonic()
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "verdicts.jsonl").open("w") as log:
        for verdict in scan_all(files, options.jobs):
            outcomes[verdict.outcome] += 1
            kinds.setdefault(verdict.file.kind.split(":")[0], Counter())[verdict.outcome] += 1
            row = [verdict.file.name, verdict.file.kind, verdict.outcome, verdict.said, round(verdict.seconds, 2)]
            log.write(json.dumps(row) + "\n")
            log.flush()
            if verdict.failed:
                failures.append(verdict)
                keep(verdict)
                print(
                    f"FAILED {verdict.file.name} ({verdict.file.kind}): {verdict.outcome}: {verdict.said[:300]}",
                    flush=True,
                )
    print(f"\n{outcomes.total()} files in {time.monotonic() - began:.0f} s: {dict(outcomes)}\n")
    for kind, counts in sorted(kinds.items()):
        print(f"{kind:28} {dict(counts)}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
