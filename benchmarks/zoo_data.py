"""The zoo's pictures: MNIST, small and whole, or scikit-learn's digits where the shared folder is not there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SEED = 2024
"""Of the split; the one that examples/mnist/train.py has, so that its nets can stand beside the zoo's."""
TRAINED_ON = 0.8
SAMPLES = 200
"""Held-out pictures that the zoo is measured and audited on."""
MNIST = Path("data/mnist_test.npz")


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Grey pictures of one size: float32 `[n, 1, side, side]` in [0, 1], all on the grid of 8 bits; labels `[n]`.

    source: where they come from, in words. The first are trained on, the others held out; `samples` of those are what
    a member is measured on.
    """

    train: Tensor
    train_labels: Tensor
    held: Tensor
    held_labels: Tensor
    source: str

    @property
    def side(self) -> int:
        return int(self.train.shape[-1])

    @property
    def samples(self) -> tuple[Tensor, Tensor]:
        """The first held-out pictures and their labels."""
        return self.held[:SAMPLES], self.held_labels[:SAMPLES]

    def save(self, path: Path) -> None:
        """Write the samples as a scan takes them: bytes, which it divides by 255."""
        x, y = self.samples
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, x=np.rint(x.numpy() * 255).astype(np.uint8), y=y.numpy())


def pictures(shared: Path, side: int) -> Pictures:
    """MNIST's 10,000 test images, averaged over 2 × 2 pixels where side is 14; 8,000 to train on, 2,000 held out.

    Where the shared folder lacks them scikit-learn's 1,797 digits of 8 × 8 stand in at any side. Raises SystemExit
    where neither is there, saying what to do.
    """
    if (shared / MNIST).is_file():
        with np.load(shared / MNIST) as arrays:
            x, y = arrays["x"].astype(np.float64), arrays["y"].astype(np.int64)
        source = "MNIST" if side == 28 else "MNIST, 14 × 14"
        if side == 14:
            x = x.reshape(len(x), 14, 2, 14, 2).mean(axis=(2, 4))
    else:
        x, y = digits(shared)
        source = "scikit-learn's digits"
    order = np.random.default_rng(SEED).permutation(len(x))
    images = torch.from_numpy((np.rint(x[order])[:, None] / 255).astype(np.float32))
    labels, cut = torch.from_numpy(y[order]), int(TRAINED_ON * len(x))
    return Pictures(
        train=images[:cut], train_labels=labels[:cut], held=images[cut:], held_labels=labels[cut:], source=source
    )


def digits(shared: Path) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits, 0 to 255. Raises SystemExit where it is not installed."""
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise SystemExit(
            f"The zoo is trained on {MNIST} in the shared folder, which {shared} lacks; give --shared FOLDER, or "
            "install scikit-learn for its digits."
        ) from None
    bunch = load_digits()
    return np.asarray(bunch.images) * 255 / 16, np.asarray(bunch.target, dtype=np.int64)
