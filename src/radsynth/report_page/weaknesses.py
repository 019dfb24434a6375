"""What the figures do not show, and where they are bad: computed from the figures themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from radsynth.report_page.evidence import Evidence
from radsynth.report_page.words import between, ends, named, number, plain, scale

FEW = 10
"""Fewer patients than this: an interval over them says little."""
HARDLY = 0.7
"""A finding that the judge reads off drawn pictures with less AUROC counts as hardly drawn."""
BASELINES = ("atlas", "place", "mean_ct", "median_ct", "histogram_matching", "textbook")
MANY = 6


def weaknesses(evidence: Evidence) -> list[str]:
    """Every weakness that can be seen in the evidence, the gravest kinds first, one sentence each."""
    found: list[str] = []
    for stage, metrics in evidence.metrics.items():
        figures = metrics.get("figures") or {}
        found += _like_the_worst(stage, figures)
        found += _no_better_than_simple(metrics)
    found += _hardly_drawn(evidence.metrics.get("evaluate_report_gan", {}))
    for stage in ("audit_report_gan", "audit_mri_to_ct"):
        found += _verdicts(evidence.metrics.get(stage, {}))
    for stage, metrics in evidence.metrics.items():
        found += _unsure(stage, metrics.get("figures") or {})
    return found + list(_about_the_data(evidence))


def _like_the_worst(stage: str, figures: dict[str, Any]) -> Iterator[str]:
    """Figures whose interval reaches their worst case, and those nearer to it than to their floor."""
    near = []
    for name, entry in figures.items():
        value, worst = ends(entry), ends(entry.get("worst_case"))
        placed = scale(entry)
        if value is None or worst is None or placed is None:
            continue
        if value[0] <= worst[1] and worst[0] <= value[1]:
            yield (
                f"{named(name)} ({stage}) cannot be told from its worst case: {_with_interval(entry)} against "
                f"{_with_interval(entry['worst_case'])}."
            )
        elif placed.share < 0:
            yield f"{named(name)} ({stage}) is worse than its worst case: {_with_interval(entry)}."
        elif placed.share < 0.5:
            near.append(f"{named(name)} ({100 * placed.share:.0f} % of the way from worst case to floor)")
    if near:
        yield f"Nearer to the worst case than to the floor, in {stage}: {_listed(near)}."


def _no_better_than_simple(metrics: dict[str, Any]) -> Iterator[str]:
    """Figures that a simple baseline reaches as well: by the gain in pairs where it is known, else by the intervals."""
    entries = metrics.get("figures") or {}
    for name, entry in entries.items():
        for baseline in BASELINES:
            own, other = ends(entry), ends(entries.get(f"{name}_{baseline}"))
            if own is None or other is None:
                continue
            gain = entries.get(f"{name}_gain_on_{baseline}")
            in_pairs, gained = "", ends(gain)
            alike = own[0] <= other[1] and other[0] <= own[1]
            if gained:
                alike, in_pairs = gained[0] <= 0, f"; gain in pairs {_with_interval(gain)}"
            if alike:
                yield (
                    f"{named(name)} is not beyond doubt better than that of the baseline {named(baseline).lower()}: "
                    f"{_with_interval(entry)} against {_with_interval(entries[f'{name}_{baseline}'])}{in_pairs}."
                )


def _hardly_drawn(metrics: dict[str, Any]) -> Iterator[str]:
    """Findings that the judge hardly reads off the drawn pictures."""
    rows = findings_of(metrics)
    bad = [(row["finding"], row.get("auroc_drawn"), row.get("auroc_real")) for row in rows]
    bad = [(f, plain(drawn), plain(real)) for f, drawn, real in bad if plain(drawn) is not None]
    bad = sorted((entry for entry in bad if entry[1] < HARDLY), key=lambda entry: entry[1])
    if bad:
        told = [
            f"{f.replace('_', ' ')} (AUROC {number(drawn)}{f', on real pictures {number(real)}' if real else ''})"
            for f, drawn, real in bad
        ]
        yield f"Findings that are hardly drawn, because the judge does not find them again: {', '.join(told)}."


def findings_of(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows with ``finding`` and ``auroc_drawn`` of the report GAN's evaluation, wherever they are kept."""
    for rows in (metrics.get("tables") or {}).values():
        if rows and {"finding", "auroc_drawn"} <= rows[0].keys():
            return rows
    return []


def _verdicts(audit: dict[str, Any]) -> Iterator[str]:
    for name in ("report_to_xray", "mri_to_ct"):
        verdict = audit.get(f"{name}_passed", "")
        if verdict is None or verdict is False:
            said = "did not pass" if verdict is False else "could not judge"
            yield f"The memorisation audit {said} {name}: {audit.get(f'{name}_reason') or 'no reason is given'}."


def _unsure(stage: str, figures: dict[str, Any]) -> Iterator[str]:
    """Figures that are missing, come from few patients, or lack an interval or bounds."""
    missing = [
        f"{named(n)}{': ' + entry['reason'] if entry.get('reason') else ''}"
        for n, entry in figures.items()
        if entry["value"] is None
    ]
    if missing:
        yield f"Not measured in {stage}: {_listed(missing)}."
    known = {n: entry for n, entry in figures.items() if entry["value"] is not None}
    few = [entry["n"] for entry in known.values() if entry.get("n") is not None and entry["n"] < FEW]
    if few:
        yield (
            f"{len(few)} of {len(known)} figures of {stage} come from fewer than {FEW} patients (as few as "
            f"{min(few)}): their intervals say little."
        )
    lacks = {
        "interval": [n for n, entry in known.items() if entry["low"] is None],
        "floor": [n for n, entry in known.items() if plain(entry.get("floor")) is None],
        "worst case": [n for n, entry in known.items() if plain(entry.get("worst_case")) is None],
    }
    for what, names in lacks.items():
        if names:
            yield f"Without {what} in {stage}: {_listed([named(n) for n in names])}."


def _about_the_data(evidence: Evidence) -> Iterator[str]:
    for part, noun in (("acquire_chest", "chest X-rays"), ("acquire_brain", "heads")):
        if evidence.settings.get(part, {}).get("source") == "phantom":
            yield (
                f"The {noun} are drawn phantoms, no patients: what the models make of clinical pictures is not "
                "measured here."
            )
    if evidence.settings.get("profile") in ("smoke", "quickstart"):
        yield f"The profile {evidence.settings['profile']} trains small models for minutes at most."
    learned = evidence.models.get("classifier", {})
    never = sorted(set(learned.get("findings", [])) - set(learned.get("learned", [])))
    if never:
        names = ", ".join(name.replace("_", " ") for name in never)
        yield f"Findings too rare in the training split to be learned or judged: {names}."
    yield "The judge is a network of this pipeline: what it does not see, the figures that rest on it do not show."


def _with_interval(entry: Any) -> str:
    interval = between(entry)
    return number(plain(entry)) + (f" ({interval})" if interval else "")


def _listed(names: list[str]) -> str:
    more = f", and {len(names) - MANY} more" if len(names) > MANY else ""
    return ", ".join(names[:MANY]) + more
