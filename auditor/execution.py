"""How an audit is computed: device, threads, batch width, precision. It may move a result by rounding, never a draw."""

from __future__ import annotations

import msgspec

from auditor.errors import UsageError

SMALL = 4096
"""Features up to which an input is small: a 32 × 32 picture is, one of ImageNet is not."""
PRECISIONS = ("auto", "float32", "float64", "bfloat16")


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """Recorded with every result; `--resume` refuses another.

    device: `cpu` or `cuda`. threads: of torch and of the runtime. width: rows that the twin computes at once
    (fewer are padded). precision: of the search, `auto` until it is measured (`auditor.mixed`);
    candidates are float32 and judged in the deployed precision whatever it is. compile: whether the twin goes
    through `torch.compile`, which takes some ten seconds first and needs a C++ compiler on the CPU.
    """

    device: str
    threads: int
    width: int = 64
    precision: str = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision is one of {', '.join(PRECISIONS)}, got {self.precision!r}.")
        if not 1 <= self.threads <= 4096:
            raise UsageError(f"threads is from 1 to 4096, got {self.threads}.")
        if self.width < 1:
            raise UsageError(f"--batch-size is at least 1, got {self.width}.")

    def chunk(self, features: int) -> int:
        """Samples of so many features that one unit of work covers: a kill loses at most one unit.

        Large units keep the batch full for longer (a unit ends with ever fewer rows), small ones lose less and need
        less memory: 16 batches of small inputs, 4 of large ones.
        """
        return max((16 if features <= SMALL else 4) * self.width, 64)

    def padded(self, rows: int) -> int:
        """The width that a batch of this many rows is computed at: the next multiple of 4, at most `width`.

        Powers of two, or one constant width, cost up to a quarter of the time once rows have left (measured). A
        compiled twin has one width all the same: each would be compiled anew.
        """
        if self.compile:
            return max(rows, self.width)
        return max(rows, min(self.width, -(-rows // 4) * 4))

    @classmethod
    def choose(
        cls,
        device: str = "auto",
        *,
        width: int | None = None,
        threads: int | None = None,
        precision: str = "float32",
        compile: bool = False,
    ) -> Execution:
        """Settle `auto` and check that the device is there. Raises UsageError where it isn't."""
        import torch

        if device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"--device is auto, cpu or cuda, got {device!r}.")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda" and not torch.cuda.is_available():
            raise UsageError("--device cuda was asked for, but torch sees no CUDA device; use --device cpu.")
        chosen = torch.get_num_threads() if threads is None else threads
        width = width or (256 if device == "cuda" else 64)
        return cls(device=device, threads=chosen, width=width, precision=precision, compile=compile)
