"""Stage evaluate_utility: what synthetic X-rays are worth to a classifier that is tested on real people."""

from __future__ import annotations

from radsynth.errors import one_line_errors
from radsynth.evaluation.features import imagenet_space
from radsynth.evaluation.utility import evaluate_utility
from radsynth.evaluation.utility_report import Comparison
from radsynth.figures import gains_by_arm
from radsynth.files import atomic_folder
from radsynth.metrics import write_metrics
from radsynth.settings import load
from radsynth.training.chest_data import load_chest
from radsynth.training.device import pick_device
from radsynth.training.report_gan import load_report_gan


@one_line_errors
def main() -> None:
    """Run the stage."""
    settings = load()
    device = pick_device()
    gan, description = load_report_gan("models/report_gan")
    sets = load_chest(
        "data/chest/manifest.parquet", "data/chest/xrays", "data/chest/embeddings", tuple(description["views"])
    )
    figures, comparisons = evaluate_utility(
        gan.to(device.device),
        sets,
        imagenet_space(device),
        settings.evaluate_utility,
        seed=settings.seed,
        device=device,
    )
    with atomic_folder("plots/evaluate_utility") as plots:
        if comparisons:
            gains_by_arm([panel(comparison) for comparison in comparisons], plots / "utility.png")
    write_metrics("metrics/evaluate_utility.json", figures)


def panel(found: Comparison) -> tuple[str, float, dict[str, tuple[float, float, float]]]:
    """Title, macro AUROC of real pictures alone, and value and interval of every arm's difference to it."""
    who = "all real training patients" if found.regime == "full" else "few real training patients"
    arms = [name for name in found.names if name != "real"]
    gains = {arm: found.value(arm, "auroc", minus="real")[:3] for arm in arms}
    return f"{who}, {found.real} pictures", found.value("real", "auroc").value, gains


if __name__ == "__main__":
    main()
