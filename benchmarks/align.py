"""Seconds that one core takes to align a head volume: ``python benchmarks/align.py FOLDER`` (with mr/ and ct/).

Without a folder the embedded heads are drawn and aligned. Prints one line a volume and the slowest of all.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import SimpleITK as sitk

from radsynth import settings
from radsynth.sources.brain_folder import list_brain_folder
from radsynth.sources.head_phantom import make_head_sample
from radsynth.volumes.align import align_volume, make_reference

LIMIT_S = 15.0


def main() -> None:
    """Time `align_volume`, reading and digest included."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    ours = settings.load().align_volumes
    with tempfile.TemporaryDirectory() as temporary:
        if len(sys.argv) > 1:
            frame, _ = list_brain_folder(sys.argv[1])
        else:
            frame = make_head_sample(Path(temporary), unpaired=2, paired=1, seed=7)
        start = time.perf_counter()
        reference = make_reference(frame)
        print(f"reference: {time.perf_counter() - start:.1f} s")
        slowest = 0.0
        for raw in frame.to_dict("records"):
            start = time.perf_counter()
            align_volume(raw, reference, grid_size=ours.grid_size, spacing_mm=ours.spacing_mm, n4=ours.n4)
            seconds = time.perf_counter() - start
            slowest = max(slowest, seconds)
            print(f"{raw['modality']} {Path(raw['path']).name}: {seconds:.1f} s")
    print(f"slowest: {slowest:.1f} s (limit {LIMIT_S:.0f} s)")
    raise SystemExit(slowest > LIMIT_S)


if __name__ == "__main__":
    main()
