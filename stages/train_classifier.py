"""Train the judge: findings from X-rays, on real pictures alone, never used in a loss."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from radsynth.errors import one_line_errors
from radsynth.evaluation.entries import entry, over_patients
from radsynth.evaluation.report_agreement import auroc, mean_auroc
from radsynth.metrics import write_figures
from radsynth.networks.classifier import FindingsClassifier
from radsynth.settings import load
from radsynth.training.chest_data import ChestSet, learnable, load_chest
from radsynth.training.device import cpu_device, pick_device
from radsynth.training.findings import FindingsPlan, judge_thresholds, predict, train_findings
from radsynth.training.loop import forget_checkpoints
from radsynth.training.models import fingerprint, save_model, write_history
from radsynth.vocabulary import FINDINGS

BOOTSTRAP = 500
DATA = [Path("data/chest/manifest.parquet"), Path("data/chest/xrays/pixels.npy")]


@one_line_errors
def main() -> None:
    """Run the stage."""
    settings = load()
    own, seed = settings.train_classifier, settings.seed
    device = pick_device(own.precision)
    sets = load_chest(DATA[0], "data/chest/xrays", "data/chest/embeddings")
    arguments = {"findings": len(FINDINGS), "width": own.width}
    mark = fingerprint(own.model_dump() | {"seed": seed}, DATA)
    folder = Path("checkpoints/train_classifier") / mark
    plan = FindingsPlan(own.images_seen, own.batch_size, own.learning_rate, seed)
    network, outcome = train_findings(
        "training the judge", partial(FindingsClassifier, **arguments), sets, plan, device, folder
    )
    taught = learnable(sets["train"].labels)
    test = sets.get("test", sets["train"])
    logits = predict(network, test.pictures, len(test), device)
    found = {f: auroc(logits[:, k], test.labels[:, k]) for k, f in enumerate(FINDINGS) if taught[k]}
    found = {f: round(v, 4) for f, v in found.items() if v == v}
    learned = [f for k, f in enumerate(FINDINGS) if taught[k]]
    # where the judge is used, it computes in float32
    known = sets.get("validation", sets["train"])
    seen = predict(network.to("cpu"), known.pictures, len(known), cpu_device())
    described = {
        "network": arguments,
        "findings": list(FINDINGS),
        "learned": learned,
        "thresholds": judge_thresholds(seen, known.labels, learned),
        "input": {"shape": [-1, 1, test.size, test.size], "range": [-1, 1], "dtype": "float32"},
        "settings": own.model_dump(),
        "seed": seed,
        "fingerprint": mark,
        "images_seen": outcome.best_images_seen,
        "chosen_by": "validation cross-entropy",
    }
    save_model("models/classifier", outcome.best, described)
    write_history(outcome, "history/train_classifier")
    write_figures(
        "metrics/train_classifier.json",
        auroc_figures(logits, test, np.flatnonzero(taught), "test" if "test" in sets else "train", seed),
        notes=["The judge is trained and tested on real pictures alone: these figures are about it, not about a GAN."],
        flat={"auroc": found, "test_images": len(test)},
    )
    forget_checkpoints(folder)


def auroc_figures(logits: np.ndarray, test: ChestSet, columns: np.ndarray, split: str, seed: int) -> dict[str, Any]:
    """The judge's AUROC, mean and by finding, with intervals over patients."""
    subjects = test.frame["subject_id"].to_numpy()

    def figure(columns: np.ndarray, definition: str) -> dict[str, Any]:
        found = over_patients(
            lambda rows: mean_auroc(logits[rows], test.labels[rows], columns), [subjects], BOOTSTRAP, seed
        )
        bounds = "floor: every picture ranked right; worst case: chance"
        return entry(found, split=split, seeds=[seed], floor=1.0, worst_case=0.5, definition=f"{definition}; {bounds}")

    if not len(columns):
        return {"mean_auroc": entry(None, split=split, seeds=[seed], definition="no finding could be learned")}
    figures = {"mean_auroc": figure(columns, "mean area under the ROC curve of the judge over the findings it learned")}
    for k in columns:
        words = FINDINGS[k].replace("_", " ")
        figures[f"auroc_{FINDINGS[k]}"] = figure(np.array([k]), f"area under the ROC curve of the judge for {words}")
    return figures


if __name__ == "__main__":
    main()
