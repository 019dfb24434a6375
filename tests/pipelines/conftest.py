"""Checkouts whose ``dvc`` and ``radsynth`` do as they are told."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

FAKE = '''#!{python}
"""Notes what it is asked, says and does what `told.json` says about the first thing in it that it knows."""
import json, pathlib, sys, time

root = pathlib.Path.cwd()
asked = [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]
with open(root / "asked.txt", "a") as file:
    file.write(" ".join(asked) + "\\n")
told = json.loads((root / "told.json").read_text())
for thing in told["do"]:
    if thing["when"] == " ".join(asked)[: len(thing["when"])] and thing.get("times", 1) > 0:
        thing["times"] = thing.get("times", 1) - 1
        (root / "told.json").write_text(json.dumps(told))
        print("\\n".join(thing.get("says", [])), flush=True)
        print("\\n".join(thing.get("complains", [])), file=sys.stderr, flush=True)
        if "touch" in thing:
            (root / thing["touch"]).write_text("")
        time.sleep(thing.get("sleeps", 0))
        sys.exit(thing.get("code", 0))
if asked[:2] == ["dvc", "status"]:
    print(json.dumps({{stage: told["stale"][stage] for stage in told["stale"] if told["stale"][stage][0] in asked}}))
    sys.exit(0)
if asked == ["radsynth", "publish"]:
    (root / "mlruns").mkdir(exist_ok=True)
    results = {{stage: {{"fingerprint": "f" + stage, "content": told["content"]}} for stage in told["trained"]}}
    (root / "mlruns/published.json").write_text(json.dumps(results))
if asked[:2] == ["radsynth", "promote"]:
    print(f"{{asked[2]}} v1, champion no champion yet, gate enabled\\npromoted: {{asked[2]}} v1 is the champion")
'''


class Fake:
    """A folder that looks like a checkout to the flows."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._told: dict[str, Any] = {
            "stale": {},
            "do": [],
            "content": "first",
            "trained": ["train_report_gan", "train_cyclegan"],
        }
        self._write()

    def tell(self, **changes: Any) -> None:
        """Change what the fake programs do.

        ``stale`` maps a stage to [the target that it belongs to, ...]; ``do`` lists {when: start of a command, says,
        complains, code, sleeps, touch, times}.
        """
        self._told = json.loads((self.root / "told.json").read_text()) | changes
        self._write()

    @property
    def asked(self) -> list[str]:
        """The commands, in their order."""
        path = self.root / "asked.txt"
        return path.read_text().splitlines() if path.exists() else []

    def _write(self) -> None:
        (self.root / "told.json").write_text(json.dumps(self._told))


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A checkout with fake programs first on the path."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("dvc", "radsynth"):
        (programs / name).write_text(FAKE.format(python=sys.executable))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    return Fake(checkout)
