"""Does the report GAN's conditioner read what people type: single sentences, and wordings that no training report has.

    python -m benchmarks.prompts

Run it where `dvc repro train_report_gan` has been. What the conditioner says of a text is held against what the rules
read there (`reports.findings`): of validation reports, of their single sentences that no training report holds, and of
the prompts below. Those were written by hand; the first had been tried before, and the rules were mended where they did
not read one (abbreviations, "big", a size after a comma). ADR 0020 was chosen by counts on them too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from radsynth.errors import one_line_errors
from radsynth.reports.findings import label_text, sentences_read
from radsynth.settings import load
from radsynth.training.chest_data import load_chest, targets_of
from radsynth.training.drawing import Drawer, prompt
from radsynth.vocabulary import FINDINGS, TARGETS

PROMPTS = """
6 x 4 cm mass in the right upper lobe.
Mass in the right upper lobe.
There is a 5 cm mass in the right upper lobe.
Right upper lobe mass.
RUL mass, 5 cm.
Left lower lobe mass measuring 4.5 cm.
Spiculated mass at the left apex.
Big round mass, left base.
A 9 mm nodule in the left upper lobe.
Small pulmonary nodule, right lower lobe.
Nodule right base.
Left-sided pleural effusion, large.
Large effusion on the left.
Massive right pleural effusion.
There is fluid in the left pleural space.
Right pneumothorax.
Large pneumothorax on the right.
Tension pneumothorax, left.
The heart is big.
Marked cardiomegaly with pulmonary edema.
Enlarged cardiac silhouette.
Bilateral pleural effusions, right greater than left.
Consolidation in the left lower lobe with air bronchograms.
Dense consolidation of the right upper lobe.
Left basal atelectasis.
Bandlike atelectasis at both bases.
Hiatal hernia.
Large hiatus hernia behind the heart.
Severe emphysema.
COPD with hyperinflated lungs.
Interstitial edema with Kerley lines.
Normal chest x-ray.
No abnormality.
Clear lungs, normal heart.
No pneumothorax. No effusion.
Right lower lobe pneumonia.
Patchy opacity in the lingula.
Right middle lobe opacity.
Moderate left effusion with adjacent atelectasis.
Findings: Cardiomegaly. Small bilateral effusions. Impression: Heart failure.
"""

KINDS = {
    "findings": lambda target: target in FINDINGS,
    "sides": lambda target: target.endswith(("_left", "_right")),
    "zones": lambda target: target.endswith(("_upper", "_mid", "_lower")),
    "large": lambda target: target.endswith("_large"),
}


def counts(drawer: Drawer, texts: Sequence[str], batch: int = 32) -> list[str]:
    """Of each kind of target how many the conditioner misses, and how many it invents."""
    parts = [texts[k : k + batch] for k in range(0, len(texts), batch)]
    conditioner = drawer.gan.conditioner
    said = torch.cat([conditioner.said(conditioner(*drawer.text(part, "frontal"))) for part in parts]).numpy() > 0
    stands = targets_of(pd.DataFrame([label_text(text).columns() for text in texts]))
    known = conditioner.taught.numpy() & ~np.isnan(stands)
    cells = []
    for kind in KINDS.values():
        columns = np.array([kind(target) for target in TARGETS])
        there, absent, told = (x[:, columns] for x in (known & (stands == 1), known & (stands == 0), said))
        missed, invented = (there & ~told).sum(), (absent & told).sum()
        cells.append(f"{missed} of {there.sum()} missed, {invented} of {absent.sum()} invented")
    return cells


@one_line_errors
@torch.inference_mode()
def main() -> None:
    """Measure and print a table."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    own = load().train_report_gan
    data = load_chest("data/chest/manifest.parquet", "data/chest/xrays", "data/chest/embeddings", tuple(own.views))
    train, held = (data[split].frame["prompt"].tolist() for split in ("train", "validation"))
    sentences = [{sentence for text in texts for sentence in sentences_read(text)} for texts in (train, held)]
    asked = {
        "reports": held,
        "single sentences": sorted(sentences[1] - sentences[0]),
        "prompts by hand": [prompt(line, "") for line in PROMPTS.strip().splitlines()],
    }
    drawer = Drawer("models/report_gan")
    print(f"| texts | number | {' | '.join(KINDS)} |")
    print("| --- " * (2 + len(KINDS)) + "|")
    for name, texts in asked.items():
        print(f"| {name} | {len(texts)} | {' | '.join(counts(drawer, texts))} |")


if __name__ == "__main__":
    main()
