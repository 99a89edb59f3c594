"""Report pages held against axe-core, in both colour schemes and at two widths, with everything unfolded.

`npm install axe-core` anywhere, then `python -m benchmarks.accessibility node_modules/axe-core/axe.min.js PAGE…`.
Ends with 1 where a serious or critical violation is left. Takes about four seconds a page.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.chromium import Browser, browser, find

WIDTHS = (1280, 390)
GRAVE = ("serious", "critical")
OURS = "Boolean(document.querySelector('meta[name=generator][content^=advaudit]'))"
"""The browser's own page for a file that is not there would pass."""
UNFOLD = "document.querySelectorAll('details').forEach(one => one.open = true)"
RUN = """axe.run(document, {resultTypes: ["violations"]}).then(found => JSON.stringify(found.violations.map(one => ({
    id: one.id, impact: one.impact, help: one.help, nodes: one.nodes.map(node => node.html.slice(0, 160))}))))"""


def violations(shown: Browser, axe: str, page: Path, *, width: int, dark: bool) -> list[dict[str, Any]]:
    """What axe finds in this page: id, impact, help and nodes of each violation. Raises ValueError for other pages."""
    shown.show(page.resolve().as_uri(), width, dark=dark)
    if not shown.evaluate(OURS):
        raise ValueError(f"{page} is no report of advaudit, or can't be read")
    shown.evaluate(UNFOLD)
    shown.evaluate(axe)
    return json.loads(shown.evaluate(RUN))  # type: ignore[no-any-return]


def main(axe: str, *pages: str) -> int:
    """Print what is found; 1 where any of it is serious or critical."""
    binary, source, grave = find(), Path(axe).read_text(encoding="utf-8"), 0
    if binary is None:
        print("No Chromium is installed (apt-get install chromium).")
        return 2
    with browser(binary) as shown:
        shown.ask("Emulation.setScriptExecutionDisabled", value=False)
        for page in pages:
            for width in WIDTHS:
                for dark in (False, True):
                    found = violations(shown, source, Path(page), width=width, dark=dark)
                    own = sum(one["impact"] in GRAVE for one in found)
                    grave += own
                    print(f"{page} {width} {'dark' if dark else 'light'}: {len(found)} violations, {own} grave")
                    for one in found:
                        print(
                            f"  {one['impact']}: {one['id']}, {one['help']} ({len(one['nodes'])}): {one['nodes'][:2]}"
                        )
    return int(grave > 0)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
