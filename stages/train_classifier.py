"""Train the judge: findings from X-rays, on real pictures alone, never used in a loss."""

from __future__ import annotations

from pathlib import Path

from radsynth.errors import one_line_errors
from radsynth.evaluation.report_agreement import auroc
from radsynth.files import write_json
from radsynth.networks.classifier import FindingsClassifier
from radsynth.settings import load
from radsynth.training.chest_data import learnable, load_chest
from radsynth.training.device import pick_device
from radsynth.training.findings import FindingsPlan, predict, train_findings
from radsynth.training.loop import forget_checkpoints
from radsynth.training.models import fingerprint, save_model, write_history
from radsynth.vocabulary import FINDINGS

DATA = [Path("data/chest/manifest.parquet"), Path("data/chest/xrays/pixels.npy")]


@one_line_errors
def main() -> None:
    """Run the stage."""
    settings = load()
    own, seed = settings.train_classifier, settings.seed
    device = pick_device(own.precision)
    sets = load_chest(DATA[0], "data/chest/xrays", "data/chest/embeddings")
    arguments = {"findings": len(FINDINGS), "width": own.width}
    network = FindingsClassifier(**arguments)
    mark = fingerprint(own.model_dump() | {"seed": seed}, DATA)
    folder = Path("checkpoints/train_classifier") / mark
    plan = FindingsPlan(own.images_seen, own.batch_size, own.learning_rate, seed)
    outcome = train_findings("training the judge", network, sets, plan, device, folder)
    network.load_state_dict(outcome.best)
    network.eval()
    taught = learnable(sets["train"].labels)
    test = sets.get("test", sets["train"])
    logits = predict(network, test.pictures, len(test), device)
    found = {f: auroc(logits[:, k], test.labels[:, k]) for k, f in enumerate(FINDINGS) if taught[k]}
    found = {f: round(v, 4) for f, v in found.items() if v == v}
    described = {
        "network": arguments,
        "findings": list(FINDINGS),
        "learned": [f for k, f in enumerate(FINDINGS) if taught[k]],
        "input": {"shape": [-1, 1, test.size, test.size], "range": [-1, 1], "dtype": "float32"},
        "settings": own.model_dump(),
        "seed": seed,
        "fingerprint": mark,
        "images_seen": outcome.best_images_seen,
        "chosen_by": "validation cross-entropy",
    }
    save_model("models/classifier", outcome.best, described)
    write_history(outcome, "history/train_classifier")
    mean = round(sum(found.values()) / len(found), 4) if found else None
    write_json("metrics/train_classifier.json", {"mean_auroc": mean, "auroc": found, "test_images": len(test)})
    forget_checkpoints(folder)


if __name__ == "__main__":
    main()
