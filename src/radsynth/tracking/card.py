"""The model card of a version, made from recorded facts alone.

References
----------
Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from radsynth.files import read_json
from radsynth.tracking.facts import PASSED
from radsynth.tracking.gate import number, shown
from radsynth.tracking.learned import SOURCES

if TYPE_CHECKING:
    from radsynth.tracking.gate import Check, Decision
    from radsynth.tracking.registry import Version

USE = {
    "report-to-xray": "Draws chest X-rays from the findings and the impression of a radiology report, for research on "
    "image synthesis and for augmenting training sets.",
    "mri-to-ct": "Draws a CT in Hounsfield units from a brain MR, for research on modality synthesis.",
}
NOT_FOR = (
    "Not for diagnosis, treatment or dose planning, and not for any decision about a person: nothing that it draws is "
    "a finding about anybody."
)
UNSURE_AUROC = 0.7
"""A finding that the judge reads off drawn pictures with less is listed as a limit."""


def card(version: Version, decision: Decision) -> str:
    """The card as Markdown.

    Parameters
    ----------
    decision
        The one that promoted the version: its figures are the card's.
    """
    tags, described = version.tags, read_json(version.folder / "model.json")
    figures = [check for check in decision.checks if isinstance(check.challenger, dict)]
    lines = [
        f"# {version.name} v{version.version}",
        "",
        "**Research, not for diagnosis.**",
        "",
        "## Intended use",
        USE[version.name],
        NOT_FOR,
        "",
        "## Data",
        *_data(version),
        "",
        *_carried(version, described),
        "## Figures",
        *_figures(figures, decision),
        "",
        "## Known limits",
        *(f"- {limit}" for limit in _limits(version, decision, figures)),
        "",
        "## Lineage",
        *_rows(
            {
                "run": version.run_id,
                "logged model": version.model_id,
                "fingerprint of settings, data and code": tags.get("radsynth.fingerprint"),
                "commit": _commit(tags),
                "settings (SHA-256)": tags.get("radsynth.settings_sha256"),
                "dvc.lock (SHA-256)": tags.get("radsynth.dvc_lock_sha256"),
                "weights and description (SHA-256)": tags.get("radsynth.model_sha256"),
                "images seen": described.get("images_seen"),
                "seed": described.get("seed"),
                "chosen by": described.get("chosen_by"),
                "gate": f"{decision.mode}, {decision.verdict}"
                + (f", against v{decision.champion}" if decision.champion else ", no champion before"),
            }
        ),
    ]
    return "\n".join(lines) + "\n"


def _data(version: Version) -> list[str]:
    tags = version.tags
    told = {
        "source": tags.get(SOURCES[version.name]),
        "validation of the data": tags.get("radsynth.validation"),
        "memorisation check": tags.get("radsynth.memorisation"),
    }
    read = {f"read: {path}": digest for path, digest in json.loads(tags.get("radsynth.data", "{}")).items()}
    raw = {f"raw: {path}": digest for path, digest in json.loads(tags.get("radsynth.raw", "{}")).items()}
    return _rows(told | read | raw)


def _carried(version: Version, described: dict[str, Any]) -> list[str]:
    """What of the people in its data lies in the model's own files; nothing for a model that holds none."""
    from radsynth.volumes.common_grid import FILE, read_common_grid

    found = []
    if (version.folder / FILE).is_file():
        head = read_common_grid(version.folder / FILE).head
        millimetres = " x ".join(number(mm) for mm in np.linalg.norm(head.affine[:3, :3], axis=0))
        found.append(
            f"{FILE}: the {head.modality} of one head of the data set, perhaps a held-out one, at {millimetres} mm, to "
            "which a new MR is registered, without a name but with the shape of the face."
        )
    for name, shape in described.get("atlases", {}).items():
        found.append(
            f"weights.safetensors: an atlas of the training {name.upper()} heads, at each of "
            f"{' x '.join(map(str, shape))} voxels their mean, percentiles and depth below the skin; no single head."
        )
    if not found:
        return []
    protect = "the model needs the same protection as the data it was trained on."
    whose = {
        "phantom": "The heads are phantoms, of no person.",
        "unknown": f"Whether the heads are people is unknown: as long as it is, {protect}",
    }.get(version.tags.get(SOURCES[version.name], "unknown"), f"The heads are people: {protect}")
    return ["## What it carries of its data", *(f"- {text}" for text in found), whose, ""]


def _figures(figures: list[Check], decision: Decision) -> list[str]:
    if not figures:
        return ["None: the version was promoted with the gate disabled."]
    basis = decision.basis
    left_out = basis.get("patients_left_out")
    less = f" ({left_out} more left out: one of the two models learned from them)" if left_out else ""
    lines = [f"On {basis.get('patients')} held-out patients{less}; 95 % bootstrap intervals over patients.", ""]
    lines += ["| figure | value | champion before | what it is |", "| --- | --- | --- | --- |"]
    for check in figures:
        champion = shown(check.champion) or "-"
        meant = check.definition.replace("|", "\\|")
        lines.append(f"| {check.name} | {shown(check.challenger)} | {champion} | {meant} |")
    return lines


def _limits(version: Version, decision: Decision, figures: list[Check]) -> list[str]:
    tags, found = version.tags, []
    if tags.get(SOURCES[version.name]) == "phantom":
        found.append(
            "Trained on drawn phantoms, on no patient: what it makes of real input has not been measured here."
        )
    if tags.get("radsynth.profile") in ("smoke", "quickstart"):
        found.append(f"A small model of the profile {tags['radsynth.profile']}, trained for minutes at most.")
    if tags.get("radsynth.profile", "unknown") == "unknown":
        found.append("The profile that it was trained with is unknown.")
    if tags.get("radsynth.git_dirty") == "true":
        found.append("The code had changes that no commit holds: the training cannot be repeated exactly.")
    if "radsynth.git_commit" not in tags:
        found.append("The commit of the code that trained it is unknown.")
    for name in ("validation", "memorisation"):
        if tags.get(f"radsynth.{name}") != PASSED:
            found.append(f"{name}: {tags.get(f'radsynth.{name}', 'missing')}.")
    patients = decision.basis.get("patients")
    if isinstance(patients, int) and patients < 30:
        found.append(f"The figures come from {patients} patient{'' if patients == 1 else 's'}: intervals say little.")
    for whose in decision.basis.get("learned_from_unknown", ()):
        found.append(f"Whether {whose} learned from test patients is not known.")
    for check in figures:
        value = check.challenger["value"] if isinstance(check.challenger, dict) else None
        if value is None:
            found.append(f"{check.name} could not be measured.")
        elif check.name.startswith("auroc_") and value < UNSURE_AUROC:
            found.append(f"{check.name.removeprefix('auroc_')} is hardly drawn: AUROC {number(value)}.")
    if not figures:
        found.append("Nothing was measured when it was promoted.")
    return found or ["None recorded."]


def _commit(tags: dict[str, str]) -> str | None:
    commit = tags.get("radsynth.git_commit")
    return f"{commit}{' with changes' if tags.get('radsynth.git_dirty') == 'true' else ''}" if commit else None


def _rows(values: dict[str, Any]) -> list[str]:
    return [f"- {name}: {'not recorded' if value in (None, '') else value}" for name, value in values.items()]
