"""A small checkout with something of everything, marked up by an enemy; and a browser to open its page in."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from radsynth.evaluation.entries import entry
from radsynth.evaluation.intervals import Interval
from radsynth.files import write_json
from radsynth.report_page.evidence import Evidence

ENEMY = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
QUIET = (
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--remote-debugging-port=0",
)  # fmt: skip


def picture(path: Path, width: int = 60, height: int = 40, seed: int = 0) -> Path:
    """Write a PNG of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def figure(value: float | None, low: float | None = None, high: float | None = None, **more: Any) -> dict[str, Any]:
    """An entry of ten patients, with an interval where `low` is given."""
    interval = value if low is None else Interval(value, low, high, 10)
    given = {"split": "test", "seeds": [1], "n": 10} | more
    return entry(interval, **given)


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    """Every kind of thing that a page shows, with markup wherever a text comes from outside."""
    plots = tmp_path / "plots"
    names = {
        "evaluate_report_gan": ["six_reports", "finding_mass", "finding_<b>nodule", "finding_edema"],
        "evaluate_mri_to_ct": ["median", "risk_coverage"],
        "evaluate_mri_to_ct/slices": [f"s1_{z:03d}" for z in range(5)],
        "train_report_gan": ["0001200", "0002400"],
        "explain": ["classifier_real", f"x {ENEMY.replace('/', '|')}"],
    }
    pictures = {
        folder: [picture(plots / folder / f"{stem}.png", seed=k) for k, stem in enumerate(stems)]
        for folder, stems in names.items()
    }
    figures = {
        "label_auroc_drawn": figure(0.8, 0.7, 0.9, floor=0.9, worst_case=0.5, definition=ENEMY, feature_space=ENEMY),
        "kid": figure(1.0, 0.8, 1.2, floor=0.0, worst_case=Interval(1.1, 1.0, 1.3, 10)),
    }
    return Evidence(
        settings={"profile": ENEMY, "seed": 1, "acquire_chest": {"source": ENEMY, "path": "x"}, "acquire_brain": {}},
        commit=ENEMY,
        metrics={
            "evaluate_report_gan": {
                "figures": figures,
                "tables": {ENEMY: [{"finding": ENEMY, "auroc_drawn": 0.55, ENEMY: ENEMY}]},
                "notes": [ENEMY],
                ENEMY: ENEMY,
            },
            "audit_report_gan": {"report_to_xray_passed": False, "report_to_xray_reason": ENEMY, "figures": {}},
        },
        curves={"train_report_gan": [(1, {"g_l1": 1.0, ENEMY: 2.0}), (2, {"g_l1": 0.5, ENEMY: 1.0})]},
        pictures=pictures,
        models={ENEMY: {"parameters": {ENEMY: 10}, "images_seen": 5, "chosen_by": ENEMY, "fingerprint": "f"}},
        data={ENEMY: [{"prompt": ENEMY, "n": 3}]},
        pages=['validation_"><script>alert(1)<|script>.html'],
    )


class Browser:
    """Chromium through its DevTools protocol: opens pages, presses keys, and keeps what went wrong."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.ids = socket, itertools.count(1)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session: str | None = None
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        number = next(self.ids)
        message = {"id": number, "method": method, "params": params}
        if getattr(self, "session", None):
            message["sessionId"] = self.session
        self.socket.send(json.dumps(message))
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def open(self, path: Path) -> None:
        """Go to a file and wait until all of it is there."""
        self.loaded = False
        self.ask("Page.navigate", url=path.resolve().as_uri())
        while not self.loaded:
            self._next()

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Press and let go of a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def width(self, pixels: int) -> None:
        """Make the window so wide."""
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=pixels, height=900, deviceScaleFactor=1, mobile=pixels < 600
        )

    def _next(self) -> dict[str, Any]:
        message = json.loads(self.socket.recv(timeout=60))
        method, params = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(json.dumps(params["args"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        elif method == "Audits.issueAdded" and params["issue"]["code"] == "ContentSecurityPolicyIssue":
            self.complaints.append(json.dumps(params["issue"]["details"]))
        return message


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A headless Chromium of its own; ended with the test."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine")
    from websockets.sync.client import connect

    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [program, *QUIET, *root, f"--user-data-dir={tmp_path / 'profile'}"], stderr=subprocess.PIPE, text=True
    )
    try:
        said = next((line for line in process.stderr if "DevTools listening on" in line), None)
        assert said, "Chromium ended before it listened"
        with connect(said.split()[-1], max_size=None, proxy=None) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stderr.close()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with one metrics file and one validation page, and nothing else."""
    write_json(tmp_path / "metrics/evaluate_report_gan.json", {"figures": {"kid": figure(1.0)}})
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/validation_chest.html").write_text("<p>fine</p>")
    return tmp_path
