"""Train and measure settings side by side, several seeds each; a seed draws the sample, the split and the weights.

Run ``python -m benchmarks.ablate mri_to_ct --workspace ../ablation`` from the repository root, then ``python -m
benchmarks.ablate --table``. The workspace is a clone in which DVC keeps what rows share; a row that is killed goes on,
and one that is on record is passed over. The rows stand in `benchmarks/ablations.yaml`; a row whose code was not kept
is a patch of its name in `benchmarks/patches`, put on the workspace's code. What was measured stands in
`docs/ablations`, beside it what a row draws.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from radsynth.files import read_json, write_json
from radsynth.report_page.pictures import reduced

ROWS, PATCHES, RECORDS = Path("benchmarks/ablations.yaml"), Path("benchmarks/patches"), Path("docs/ablations")
SEEDS = (201, 202, 203)
"""Of samples that no setting was chosen on."""
FIGURES = {
    "evaluate_report_gan": {
        "label_auroc_share": "share of real AUROC",
        "kid": "KID, ImageNet",
        "spread_share": "spread",
        "counterfactual_side_read": "side read",
        "counterfactual_side_share_following": "pairs that follow a side switch",
        "counterfactual_size_share_following": "pairs that follow a size change",
        "counterfactual_negated_logit_change": "negated: logit",
        "power_ratio_second_octave": "power, second octave",
        "power_ratio_finest_octave": "power, finest octave",
    },
    "evaluate_mri_to_ct": {"mae_hu": "MAE, HU", "bone_dice": "bone Dice", "air_dice": "air Dice", "ssim": "SSIM"},
}
"""Of each evaluation: what the table shows."""
PICTURES = {"evaluate_report_gan": "six_reports.png", "evaluate_mri_to_ct": "median.png"}
"""Of those that the evaluation draws."""
WIDTH, QUALITY = 1100, 75
DECIDES = ("src", "stages", "conf", "dvc.yaml")
"""What a row's figures follow from, beside its settings."""
MODEL = "cyclegan"
"""The model's name among the methods that are measured head by head."""


def record_path(part: str, row: str, seed: int) -> Path:
    """Where a row's record is kept."""
    return RECORDS / part / f"{row}_{seed}.json"


def measure(part: str, about: dict[str, Any], row: str, seed: int, workspace: Path) -> None:
    """Train and evaluate one row in the workspace, and keep what came out: a picture, then the record."""
    target, patch = about["target"], PATCHES / f"{row}.patch"
    settings = [f"seed={seed}", *about["sample"], *about["rows"][row]]
    if not workspace.exists():
        subprocess.run(["git", "clone", "--quiet", ".", str(workspace)], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=workspace, capture_output=True, text=True, check=True)
    commit = head.stdout.strip()
    if subprocess.run(["git", "diff", "--quiet", commit, "--", *DECIDES], check=False).returncode:
        sys.exit(f"error: {workspace} holds other code than this; commit and `git pull` there, or name a new folder")
    programs = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str((workspace / "src").resolve()),
    }

    def run(*command: str) -> None:
        subprocess.run([str(programs / command[0]), *command[1:]], cwd=workspace, env=environment, check=True)

    subprocess.run(["git", "checkout", "--quiet", "--", "src"], cwd=workspace, check=True)
    if patch.exists():
        subprocess.run(["git", "apply", str(patch.resolve())], cwd=workspace, check=True)
    run("radsynth", "configure", *settings)
    run("dvc", "repro", target)
    found = read_json(workspace / "metrics" / f"{target}.json")
    figures = {
        name: {k: figure[k] for k in ("value", "low", "high") if k in figure}
        for name, figure in found["figures"].items()
    }
    record = {"part": part, "row": row, "seed": seed, "settings": settings, "commit": commit}
    if patch.exists():
        record["patch"] = patch.as_posix()
    if target == "evaluate_report_gan":
        record["auroc_by_finding"] = found["tables"]["auroc_by_finding"]
    else:
        kept = ("subject_id", "method", *FIGURES[target])
        volumes = [{k: volume[k] for k in kept if k in volume} for volume in found["tables"]["volumes"]]
        record["volumes"] = [volume for volume in volumes if "mae_hu" in volume]
    kept_at = record_path(part, row, seed)
    kept_at.parent.mkdir(parents=True, exist_ok=True)
    drawn = reduced(workspace / "plots" / target / PICTURES[target], WIDTH)
    drawn.save(kept_at.with_suffix(".webp"), quality=QUALITY, method=6)
    write_json(kept_at, record | {"figures": figures})


def gains(records: list[dict[str, Any]], method: str, other: list[dict[str, Any]], against: str) -> list[float]:
    """By how many percent of `against` (in the runs `other`) `method` errs less, for each seed that has both.

    The heads of a seed share its training, its sample and its atlas: a seed is one draw, whatever their number.
    """

    def errors(runs: list[dict[str, Any]], wanted: str) -> dict[int, float]:
        return {run["seed"]: _mean(run, wanted, "mae_hu") for run in runs}

    own, theirs = errors(records, method), errors(other, against)
    return [100 * (1 - own[seed] / theirs[seed]) for seed in sorted(own.keys() & theirs.keys())]


def over_seeds(values: list[float]) -> str:
    """Mean, and the least and largest of the seeds."""
    ends = f" ({min(values):.3g} to {max(values):.3g})" if len(values) > 1 else ""
    return f"{np.mean(values):.3g}{ends}" if values else "-"


def table(target: str, records: list[dict[str, Any]]) -> str:
    """The rows of a part, evaluated by the stage `target`, as Markdown: mean of the seeds (least to largest)."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        rows.setdefault(record["row"], []).append(record)
    names = FIGURES[target]
    lines = [f"| row | seeds | {' | '.join(names.values())} |", "| --- " * (len(names) + 2) + "|"]
    for row, runs in rows.items():
        values = [over_seeds([run["figures"][name]["value"] for run in runs]) for name in names]
        lines.append(f"| `{row}` | {len(runs)} | {' | '.join(values)} |")
    if target == "evaluate_mri_to_ct" and "default" in rows:
        default = rows["default"]
        methods = sorted({volume["method"] for run in default for volume in run["volumes"]} - {MODEL, "true_ct"})
        lines += ["", "| against | MAE, HU | bone Dice | air Dice | less error, % |", "| --- " * 5 + "|"]
        compared = [(f"`{row}`", rows[row], MODEL) for row in rows if row != "default"]
        for name, runs, method in compared + [(method, default, method) for method in methods]:
            means = [
                over_seeds([_mean(run, method, figure) for run in runs])
                for figure in ("mae_hu", "bone_dice", "air_dice")
            ]
            lines.append(f"| {name} | {' | '.join([*means, over_seeds(gains(default, MODEL, runs, method))])} |")
    return "\n".join(lines)


def _mean(run: dict[str, Any], method: str, figure: str) -> float:
    return float(np.mean([volume[figure] for volume in run["volumes"] if volume["method"] == method]))


def main() -> None:
    """Measure what is not on record yet, or print the tables."""
    parts = yaml.safe_load(ROWS.read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=list(parts))
    parser.add_argument("--rows", nargs="+", help="some rows of the part; all by default")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--workspace", type=Path, default=Path("../ablation"))
    parser.add_argument("--table", action="store_true", help="print what is on record, train nothing")
    given = parser.parse_args()
    if not given.table and not given.part:
        parser.error("name a part, or --table")
    if not given.table:
        about = parts[given.part]
        for seed in given.seeds:  # so that what a seed's rows share is made once and still there
            for row in given.rows or about["rows"]:
                if not record_path(given.part, row, seed).exists():
                    measure(given.part, about, row, seed, given.workspace)
    for part in [given.part] if given.part else parts:
        records = [read_json(path) for path in sorted((RECORDS / part).glob("*.json"))]
        if records:
            print(f"{part}\n\n{table(parts[part]['target'], records)}\n")


if __name__ == "__main__":
    main()
