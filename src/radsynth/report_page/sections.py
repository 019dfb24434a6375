"""The parts of the page: which figures, tables and pictures stand where, and how each part is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radsynth.figures import curves_svg
from radsynth.report_page.evidence import Evidence
from radsynth.report_page.weaknesses import weaknesses
from radsynth.report_page.words import Scale, between, cell, named, number, scale

MOST_FRAMES = 48
"""Pictures of one slider; of more, evenly spaced ones are taken."""
SHOWN_FIGURES = 12
"""Figures of a section beyond these are folded."""


@dataclass(frozen=True)
class Figure:
    """One row of a table of figures, as text."""

    name: str
    value: str
    interval: str
    n: str
    floor: str
    worst_case: str
    scale: Scale | None
    split: str
    feature_space: str
    seeds: str
    definition: str


@dataclass(frozen=True)
class Grid:
    """A plain table; cells are text, and columns in `numeric` are set to the right."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    numeric: list[bool]
    folded: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture with its caption, or a drawing (`svg`)."""

    caption: str
    path: Path | None = None
    svg: str = ""


@dataclass(frozen=True)
class Slider:
    """Pictures of which one is shown at a time; `start` is the first one shown."""

    caption: str
    label: str
    frames: list[tuple[str, Path]]
    start: int


@dataclass
class Section:
    """One part of the page."""

    key: str
    title: str
    how: str
    verdicts: list[tuple[str, str, str]] = field(default_factory=list)
    """Kind (good | bad | open), headline, sentence."""
    figures: list[Figure] = field(default_factory=list)
    more_figures: list[Figure] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    pictures: list[Picture | Slider] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Headline:
    """The top of the page: pictures and the few figures that matter most."""

    pictures: list[Picture]
    figures: list[tuple[str, Figure]]
    """What the figure answers, and the figure."""


CAPTIONS: tuple[tuple[str, str], ...] = (
    (r"evaluate_report_gan/six_reports", "Six test reports: the real X-ray of each, then pictures drawn from the "
     "report alone, each with another noise."),
    (r"evaluate_report_gan/finding_(?P<name>\w+)", "{name}: test patients whose report names it; the real X-ray, "
     "then pictures drawn from the report."),
    (r"evaluate_report_gan/counterfactual_(?P<name>\w+)", "Counterfactual, {name}: the report as it is, the report "
     "with one fact changed, and what changed in the picture; same noise."),
    (r"evaluate_mri_to_ct/(?P<name>best|median|worst)", "The {name} test head by mean absolute error: MR, synthetic "
     "CT, true CT, the error, and how unsure the model was."),
    (r"evaluate_mri_to_ct/risk_coverage", "Risk and coverage: the error of the part that is kept when the most "
     "uncertain part is left out. A line that falls to the left means that the uncertainty can be used."),
    (r"evaluate_mri_to_ct/(?P<name>\w+)", "{name}: MR, synthetic CT, true CT where there is one, and their "
     "difference, in three planes."),
    (r"explain/methods", "The same lesions by several methods: what they agree on is not the method's own doing."),
    (r"explain/randomisation", "Maps while the network's weights are made random, layer by layer: a map that stays as "
     "it is does not show what the network learned."),
    (r"explain/planted\w*", "Flaws planted on purpose, such as a stripe or a lesion on the wrong side, and where the "
     "discriminator looks: it should look there."),
    (r"explain/counterfactuals", "What changes in the drawn picture when its report is changed in one fact."),
    (r"explain/word_regions", "Where the generator's attention puts the words of a report."),
    (r"explain/(?P<name>\w+)_(?P<kind>real|drawn|synthetic)", "{name} on {kind} pictures: red speaks for, blue "
     "against; an outline is the true lesion."),
    (r"audit_report_gan/similarity", "How similar every drawn picture is to its nearest training picture, beside "
     "the same of held-out real pictures; beyond the limit it would count as a copy."),
    (r"audit_report_gan/detector_roc", "The copy detector on known pairs: copies found against false alarms."),
    (r"audit_mri_to_ct/nearest_ct", "The synthetic CTs that are most like a training CT, side by side with it."),
    (r"audit_report_gan/nearest", "The drawn pictures that are most like a training picture, side by side with it."),
    (r"audit_report_gan/planted", "Training pictures planted among the drawn ones, as the audit listed them."),
    (r"audit_report_gan/copies", "Drawn pictures that the audit lists as copies, with their neighbours."),
    (r"evaluate_utility/utility", "Test score of classifiers trained on real, synthetic and mixed pictures, beside "
     "the controls; bars are intervals."),
)  # fmt: skip
"""Pattern of ``<folder>/<stem>`` -> caption; the first that fits counts."""

LEADING: dict[str, tuple[str, ...]] = {
    "evaluate_report_gan": (
        "label_auroc_share", "label_auroc_drawn", "kid", "kid_judge", "retrieval.*", "precision", "recall", "density",
        "coverage", "ms_ssim_within_report", "feature_diversity", "frechet", "counterfactual.*(share|follow).*",
    ),
    "evaluate_mri_to_ct": (
        "mae_hu", "me_hu", "mae_hu_(air|soft|bone)", "ssim", "psnr", "synthrad2025_ms_ssim", "bone_dice",
        "bone_hd95_mm", "slice_step_worst", "uncertainty_rank_correlation", "mae_hu_gain_on_.*",
    ),
    "explain": ("classifier_hit_rate.*", "classifier_.*", "planted.*", "discriminator_hit_rate.*", "marker.*"),
    "audit_report_gan": (
        "copies", "canaries_found", "control_flagged_share", "nearest_similarity_auroc", "membership.*",
        "detector_auroc", "verbatim_own_nearest",
    ),
    "audit_mri_to_ct": ("ct_canaries_found", "ct_nearest_correlation"),
    "evaluate_utility": (".*synthetic.*_gain", ".*synthetic.*_over_duplicates", ".*_real_.*"),
}  # fmt: skip
"""Stage -> patterns of the figures that are shown first, in this order."""

HEADLINE: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Does the picture show what the report says?", "evaluate_report_gan", ("label_auroc_share", "label_auroc_drawn")),
    ("Do drawn X-rays look like real ones?", "evaluate_report_gan", ("kid", "kid_judge", "frechet")),
    ("How far is the synthetic CT from the true one?", "evaluate_mri_to_ct", ("mae_hu", "proxy_kid", "kid")),
    ("Do the explanations point at the lesion?", "explain", ("classifier_hit_rate", "classifier_.*")),
    ("Are drawn pictures copies of patients?", "audit_report_gan", ("copies", "nearest_similarity_auroc")),
    ("Does synthetic data help a classifier?", "evaluate_utility", ("full_synthetic.*auroc_gain", ".*synthetic.*gain")),
)
"""Question, stage, and patterns of the figures that may answer it, the best first."""


def headline(evidence: Evidence, top_grid: Path | None) -> Headline:
    """The top of the page; `top_grid` shows real beside drawn."""
    figures = []
    for question, stage, names in HEADLINE:
        known = evidence.metrics.get(stage, {}).get("figures") or {}
        name = next((n for n in _in_order(known, names) if known[n].get("value") is not None), None)
        if name and any(re.fullmatch(pattern, name) for pattern in names):
            figures.append((question, _figure(name, known[name])))
    pictures = []
    if top_grid is not None:
        pictures.append(Picture("Real X-rays, and what is drawn from their reports alone.", top_grid))
    heads = {path.stem: path for path in evidence.pictures.get("evaluate_mri_to_ct", [])}
    head = next((heads[name] for name in ("median", *sorted(heads)) if name in heads and name != "risk_coverage"), None)
    if head is not None:
        pictures.append(Picture(caption("evaluate_mri_to_ct", head), head))
    return Headline(pictures, figures)


def sections(evidence: Evidence) -> list[Section]:
    """All parts in the order of the page."""
    makers: tuple[Callable[[Evidence], Section], ...] = (
        _trained, _validation, _curves, _report_to_xray, _counterfactuals, _mri_to_ct, _explanations, _privacy,
        _utility, _not_shown,
    )  # fmt: skip
    return [make(evidence) for make in makers]


def caption(folder: str, path: Path) -> str:
    """The caption of a picture below ``plots/``; its name in words where none is known."""
    for pattern, words in CAPTIONS:
        found = re.fullmatch(pattern, f"{folder}/{path.stem}")
        if found:
            text = words.format(**{k: v.replace("_", " ") for k, v in found.groupdict().items()})
            return text[:1].upper() + text[1:]
    return named(path.stem)


# ---- the parts ----


def _trained(evidence: Evidence) -> Section:
    part = Section(
        "trained",
        "What was trained, and on what",
        "Read this first: figures hold for these data, these settings and these networks. Patients of the test "
        "split were seen by no training.",
    )
    chest, brain = (evidence.settings.get(name, {}) for name in ("acquire_chest", "acquire_brain"))
    facts = {
        "X-rays and reports": f"{chest.get('source')}, {chest.get('path')}",
        "Heads": f"{brain.get('source')}, {brain.get('path')}",
        "Profile": evidence.settings.get("profile"),
        "Seed": evidence.settings.get("seed"),
        "Code": evidence.commit or "no commit known",
    }
    part.grids.append(_grid("Sources", [{"what": name, "value": value} for name, value in facts.items()]))
    part.grids += [_grid(title, rows, folded="finding" in title) for title, rows in evidence.data.items()]
    models = [
        {
            "model": name,
            "parameters": sum(told["parameters"].values()),
            "networks": ", ".join(f"{net or 'whole'} {size:,}" for net, size in told["parameters"].items()),
            "images seen": told.get("images_seen"),
            "chosen by": told.get("chosen_by") or told.get("used_for"),
            "fingerprint": told.get("fingerprint"),
        }
        for name, told in evidence.models.items()
    ]
    if models:
        part.grids.append(_grid("Models", models))
    settings = [
        {"section": name, "setting": key, "value": value}
        for name, values in evidence.settings.items()
        if isinstance(values, dict)
        for key, value in values.items()
    ]
    part.grids.append(_grid("All settings", settings, folded=True))
    for name, there in (("data manifests", evidence.data), ("models", evidence.models)):
        if not there:
            part.missing.append(f"No {name} yet.")
    return part


def _validation(evidence: Evidence) -> Section:
    part = Section(
        "validation",
        "Data validation",
        "Before any training, expectations are tested on the data; a critical one that fails stops the pipeline.",
    )
    for name in ("chest", "brain"):
        metrics = evidence.metrics.get(f"validate_{name}")
        if metrics is None:
            part.missing.append(f"The {name} data have not been validated.")
            continue
        counts = {"judged": "judged", "critical_failed": "critical failed", "warnings": "warned", "skipped": "skipped"}
        counted = "Expectations: " + ", ".join(f"{metrics.get(key)} {word}" for key, word in counts.items()) + "."
        if metrics.get("success"):
            part.verdicts.append(("good", f"The {name} data may be used.", counted))
        else:
            part.verdicts.append(("bad", f"The {name} data must not be used.", counted))
        part.notes += metrics.get("notes") or []
    part.links = [(page, f"{named(Path(page).stem)}: the whole page, beside this one") for page in evidence.pages]
    return part


def _curves(evidence: Evidence) -> Section:
    part = Section(
        "curves",
        "Curves of the trainings",
        "Losses of a GAN need not fall: its two players push each other. The validation curve chose the model.",
    )
    for stage, rows in evidence.curves.items():
        names = list(dict.fromkeys(name for _, figures in rows for name in figures))
        chosen = [name for name in names if name.startswith("validation")]
        logits = [name for name in names if name.startswith("logit")]
        losses = [name for name in names if name not in chosen + logits]
        kinds = (("on the validation split", chosen), ("losses", losses), ("the discriminator's answers", logits))
        for kind, lines in kinds:
            if not lines:
                continue
            series = {
                named(name): (
                    [seen for seen, figures in rows if name in figures],
                    [figures[name] for _, figures in rows if name in figures],
                )
                for name in lines
            }
            drawn = curves_svg(series, "images seen", "value")
            part.pictures.append(Picture(f"{named(stage.removeprefix('train_'))}, {kind}.", svg=drawn))
    if not part.pictures:
        part.missing.append("No history of a training yet.")
    _add_stage(part, evidence, "train_classifier")
    return part


def _report_to_xray(evidence: Evidence) -> Section:
    part = Section(
        "report-to-xray",
        "Report to chest X-ray",
        "Each figure stands beside its floor (what real pictures reach against real ones) and its worst case "
        "(shuffled reports or noise); the bar shows how far from the worst case to the floor it has come.",
    )
    stage = "evaluate_report_gan"
    _add_stage(part, evidence, stage, keep=lambda name: "counterfactual" not in name)
    pictures = evidence.pictures.get(stage, [])
    _add_pictures(part, stage, [path for path in pictures if path.stem == "six_reports"], "The row of noises is")
    grids = [path for path in pictures if path.stem.startswith("finding_")]
    if len(grids) > 2:
        frames = [(named(path.stem.removeprefix("finding_")), path) for path in grids]
        words = "By finding: test patients whose report names it; the real X-ray, then pictures drawn from the report."
        part.pictures.append(Slider(words, "Finding", frames, 0))
    else:
        _add_pictures(part, stage, grids, "Grids by finding are")
    _add_pictures(part, stage, _others(pictures, ("six_reports", "finding_", "counterfactual_")))
    _add_time(part, evidence, "train_report_gan", "The same reports and noises while the report GAN was trained.")
    return part


def _counterfactuals(evidence: Evidence) -> Section:
    part = Section(
        "counterfactuals",
        "Counterfactual reports",
        "One fact of a report is changed and nothing else, not even the noise: the picture should change where that "
        "fact is seen, and the judge's answer should follow.",
    )
    stage = "evaluate_report_gan"
    _add_stage(part, evidence, stage, keep=lambda name: "counterfactual" in name, whole=False)
    _add_pictures(
        part,
        stage,
        [p for p in evidence.pictures.get(stage, []) if p.stem.startswith("counterfactual")],
        "Pairs of pictures are",
    )
    return part


def _mri_to_ct(evidence: Evidence) -> Section:
    part = Section(
        "mri-to-ct",
        "Brain MR to CT",
        "Errors are in Hounsfield units inside the head, on people who had both and whom no training saw. A low error "
        "in soft tissue is easy; look at bone and air.",
    )
    stage = "evaluate_mri_to_ct"
    _add_stage(part, evidence, stage)
    pictures = evidence.pictures.get(stage, [])
    chosen = {path.stem: path for path in pictures}
    chosen = {name: chosen[name] for name in ("best", "median", "worst", "risk_coverage") if name in chosen}
    _add_pictures(part, stage, list(chosen.values()), "Heads with error and uncertainty maps are")
    _add_slices(part, evidence.pictures.get(f"{stage}/slices", []))
    heads = [path for path in pictures if path.stem not in chosen]
    if heads:
        words = "Every head: MR, synthetic CT, true CT where there is one, and their difference, in three planes."
        part.pictures.append(Slider(words, "Head", _thinned([(path.stem, path) for path in heads]), 0))
    _add_time(part, evidence, "train_cyclegan", "The same slices while the CycleGAN was trained.")
    return part


def _explanations(evidence: Evidence) -> Section:
    part = Section(
        "explanations",
        "Explanations",
        "A map is worth something only where it beats maps that know nothing (random, the middle of the picture, "
        "edges) and where it changes once the network's weights are made random.",
    )
    _add_stage(part, evidence, "explain")
    _add_pictures(part, "explain", evidence.pictures.get("explain", []), "Overlays are")
    return part


def _privacy(evidence: Evidence) -> Section:
    part = Section(
        "privacy",
        "Privacy: does it copy patients?",
        "An audit that finds nothing says little, unless it finds what was hidden on purpose: look at the planted "
        "copies and the over-trained control first.",
    )
    audits = {
        "audit_report_gan": ("report_to_xray", "Report to X-ray"),
        "audit_mri_to_ct": ("mri_to_ct", "MR to CT"),
    }
    for stage, (name, title) in audits.items():
        audit = evidence.metrics.get(stage, {})
        if f"{name}_passed" in audit:
            part.verdicts.append(_verdict(title, audit[f"{name}_passed"], audit.get(f"{name}_reason")))
    for stage in audits:
        _add_stage(part, evidence, stage)
        _add_pictures(part, stage, evidence.pictures.get(stage, []), "Pictures of pairs are")
    return part


def _utility(evidence: Evidence) -> Section:
    part = Section(
        "utility",
        "Downstream utility",
        "A classifier is trained with and without synthetic pictures, in equal steps, and tested on real ones. "
        "Synthetic data help only where they beat both controls: the real pictures twice, and plain augmentation.",
    )
    _add_stage(part, evidence, "evaluate_utility")
    _add_pictures(part, "evaluate_utility", evidence.pictures.get("evaluate_utility", []), "Its picture is")
    return part


def _not_shown(evidence: Evidence) -> Section:
    part = Section(
        "not-shown",
        "What the figures do not show",
        "Weaknesses computed from the figures above; each is as true as they are.",
    )
    part.notes = weaknesses(evidence)
    return part


# ---- their pieces ----


def _add_stage(
    part: Section, evidence: Evidence, stage: str, keep: Callable[[str], bool] = lambda name: True, whole: bool = True
) -> None:
    """Figures and tables of a stage's metrics file whose names `keep` takes; where `whole`, its other content too."""
    metrics = evidence.metrics.get(stage)
    if metrics is None:
        part.missing.append(f"No figures: the stage {stage} has not run.")
        return
    _add_figures(part, metrics, stage, keep)
    part.grids += _metric_grids(metrics, keep, whole)
    if whole:
        part.notes += metrics.get("notes") or []


def _add_figures(
    part: Section, metrics: dict[str, Any], stage: str, keep: Callable[[str], bool] = lambda name: True
) -> None:
    known = metrics.get("figures") or {}
    figures = [_figure(name, known[name]) for name in _in_order(known, LEADING.get(stage, ())) if keep(name)]
    part.figures, part.more_figures = figures[:SHOWN_FIGURES], figures[SHOWN_FIGURES:]
    if not figures:
        part.missing.append(f"Figures with bounds are missing: {stage} has none of this kind.")


def _in_order(known: dict[str, dict[str, Any]], patterns: tuple[str, ...]) -> list[str]:
    """Names by the first pattern that fits; then those with both bounds, then the others."""

    def place(name: str) -> tuple[int, bool]:
        fits = (k for k, pattern in enumerate(patterns) if re.fullmatch(pattern, name))
        return next(fits, len(patterns)), scale(known[name]) is None

    return sorted(known, key=place)


def _figure(name: str, entry: dict[str, Any]) -> Figure:
    return Figure(
        name=named(name),
        value=number(entry.get("value")),
        interval=between(entry),
        n=number(entry.get("n")),
        floor=cell(entry.get("floor")),
        worst_case=cell(entry.get("worst_case")),
        scale=scale(entry),
        split=entry.get("split") or "-",
        feature_space=entry.get("feature_space") or "",
        seeds=", ".join(str(seed) for seed in entry.get("seeds") or []),
        definition=(entry.get("definition") or "") + (f" Not known: {entry['reason']}" if entry.get("reason") else ""),
    )


def _metric_grids(
    metrics: dict[str, Any], keep: Callable[[str], bool] = lambda name: True, whole: bool = True
) -> list[Grid]:
    """The tables of a metrics file, and its other numbers folded."""
    tables = metrics.get("tables") or {}
    found = [_grid(named(name), rows, folded=len(rows) > 16) for name, rows in tables.items() if rows and keep(name)]
    figures = metrics.get("figures") or {}
    plain = [
        {"name": named(name), "value": value}
        for name, value in metrics.items()
        if name not in figures and keep(name) and isinstance(value, int | float | str) and value != ""
    ]
    if plain and whole:
        found.append(_grid("Other numbers and verdicts", plain, folded=True))
    return found


def _grid(title: str, rows: Iterable[dict[str, Any]], folded: bool = False) -> Grid:
    """A table with its columns of words first: a metrics file has them in alphabetical order."""
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    columns.sort(key=lambda column: all(_is_numeric(row.get(column)) for row in rows))
    numeric = [all(_is_numeric(row.get(column)) for row in rows) for column in columns]
    texts = [[cell(row.get(column)) for column in columns] for row in rows]
    return Grid(title, [named(column) for column in columns], texts, numeric, folded)


def _is_numeric(value: Any) -> bool:
    if isinstance(value, dict):
        return "value" in value
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _add_pictures(part: Section, folder: str, paths: list[Path], wanted: str = "") -> None:
    part.pictures += [Picture(caption(folder, path), path) for path in paths]
    if wanted and not paths:
        part.missing.append(f"{wanted} not there yet (plots/{folder}).")


def _add_time(part: Section, evidence: Evidence, stage: str, words: str) -> None:
    frames = [(f"{_last_number(path):,} images seen", path) for path in evidence.pictures.get(stage, [])]
    if frames:
        part.pictures.append(Slider(words, "Training time", _thinned(frames), len(_thinned(frames)) - 1))
    else:
        part.missing.append(f"Pictures over the time of training are not there yet (plots/{stage}).")


def _add_slices(part: Section, paths: list[Path]) -> None:
    """One slider a subject over ``<subject>_<zzz>.png``."""
    subjects: dict[str, list[tuple[str, Path]]] = {}
    for path in paths:
        subject, _, place = path.stem.rpartition("_")
        subjects.setdefault(subject or path.stem, []).append((f"slice {place}", path))
    for subject, frames in subjects.items():
        taken = _thinned(frames)
        every = "" if len(taken) == len(frames) else f" ({len(taken)} of {len(frames)} slices)"
        words = f"{subject}, slice by slice{every}."
        part.pictures.append(Slider(words, f"Slice of {subject}", taken, len(taken) // 2))
    if not paths:
        part.missing.append("Slices to walk through are not there yet (plots/evaluate_mri_to_ct/slices).")


def _thinned(frames: list[tuple[str, Path]]) -> list[tuple[str, Path]]:
    step = -(-len(frames) // MOST_FRAMES)
    return frames[::step]


def _last_number(path: Path) -> int:
    digits = re.findall(r"\d+", path.stem)
    return int(digits[-1]) if digits else 0


def _others(paths: list[Path], prefixes: tuple[str, ...]) -> list[Path]:
    return [path for path in paths if not path.stem.startswith(prefixes)]


def _verdict(title: str, passed: Any, reason: Any) -> tuple[str, str, str]:
    if passed is True:
        return (
            "good",
            f"{title}: passed.",
            "It lists no copy. How many of the planted ones it found stands below.",
        )
    if passed is False:
        return "bad", f"{title}: did not pass.", str(reason or "")
    return "open", f"{title}: cannot be said.", str(reason or "")
