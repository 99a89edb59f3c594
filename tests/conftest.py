"""Shared fixtures: seeds, and the third-party model files where they are there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with third-party models and data; the test skips where it is absent."""
    beside = Path(__file__).resolve().parents[1].parent / "shared"
    folder = Path(os.environ.get("ADVAUDIT_SHARED", beside))
    if not (folder / "models").is_dir():
        pytest.skip("the third-party model files are not here; set ADVAUDIT_SHARED to their folder")
    return folder
