"""Pack what `dvc repro` drew for docs/gallery.md: ``python docs/make_gallery.py``, in the repository's root.

Only kinds of picture are named here: which reports, patients and heads they show follows from the seed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from radsynth.report_page.pictures import reduced

PLOTS, OUT = Path("plots"), Path("docs/images/gallery")
WIDTH, QUALITY = 1300, 82
SHOWN = {
    "evaluate_report_gan": [
        *(f"finding_{name}" for name in ("effusion", "cardiomegaly", "pneumothorax", "mass", "nodule")),
        *(f"counterfactual_{name}" for name in ("negated", "side", "size")),
    ],
    "evaluate_mri_to_ct": ["best", "worst", "risk_coverage"],
    "explain": [
        *("classifier_drawn", "methods", "randomisation", "discriminator_real"),
        *("planted", "planted_ct", "word_regions"),
    ],
    "audit_report_gan": ["nearest", "planted"],
    "audit_mri_to_ct": ["nearest_ct"],
}
TRAINED = {"train_report_gan": ("early", "middle", "end"), "train_cyclegan": ("early", "end")}
"""Of the grids drawn while training, so many at even distances; their numbers change with the settings."""


def main() -> None:
    """Write docs/images/gallery/<stage>-<picture>.webp anew."""
    pictures = {f"{stage}-{name}": PLOTS / stage / f"{name}.png" for stage, names in SHOWN.items() for name in names}
    for stage, names in TRAINED.items():
        grids = sorted((PLOTS / stage).glob("*.png")) or [PLOTS / stage / "*.png"]
        for k, name in enumerate(names):
            pictures[f"{stage}-{name}"] = grids[k * (len(grids) - 1) // (len(names) - 1)]
    missing = [str(path) for path in pictures.values() if not path.is_file()]
    if missing:
        sys.exit(f"error: no {', '.join(missing)}; run: make repro")
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.glob("*.webp"):
        old.unlink()
    for name, path in pictures.items():
        reduced(path, WIDTH).save(OUT / f"{name}.webp", quality=QUALITY, method=6)


if __name__ == "__main__":
    main()
