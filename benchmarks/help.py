"""How long `radsynth --help` takes, whole process, against a Python that does nothing.

Run ``python -m benchmarks.help`` from the repository root.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

ROUNDS = 9


def seconds(*arguments: str) -> float:
    """Wall time of one Python process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure both in turns."""
    rounds = [
        (seconds("-c", "from radsynth.cli import cli; cli(['--help'])"), seconds("-c", "pass")) for _ in range(ROUNDS)
    ]
    ours, plain = (median(column) for column in zip(*rounds, strict=True))
    print(f"radsynth --help {1e3 * ours:.0f} ms, python {1e3 * plain:.0f} ms, ratio {ours / plain:.1f}")


if __name__ == "__main__":
    main()
