"""Radiology reports written from facts, in the varied wording of real chest X-ray reports.

The wording follows the Open-i reports: section texts of short sentences, findings with side, lobe, size and degree,
negations of what is absent, numbered impressions, references to priors, and ``XXXX`` where de-identification removed
a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from radsynth.vocabulary import FINDINGS


@dataclass(frozen=True)
class Finding:
    """One fact about a chest.

    Parameters
    ----------
    finding
        A name of `radsynth.vocabulary.FINDINGS`.
    side
        The PATIENT's side: "left", "right", "both", or "" where not stated.
    zone
        "upper", "mid", "lower", or "" where not stated.
    size_mm
        Largest extent; 0 where not stated.
    severity
        0..1: below 1/3 mild, above 2/3 severe. NaN where not stated.
    """

    finding: str
    side: str = ""
    zone: str = ""
    size_mm: float = 0.0
    severity: float = float("nan")


@dataclass(frozen=True)
class Report:
    """The sections of a report, and its MeSH terms."""

    findings: str
    impression: str
    indication: str
    comparison: str
    mesh: tuple[str, ...]


# Slots of the templates:
#   {deg}   mild, moderate, severe (with a space after it, or nothing)      {adv}  mildly, moderately, markedly
#   {amount} small, moderate, large                                        {side} left, right, bilateral, or nothing
#   {in}    "in the right lower lobe"                                      {where} "right lower lobe", or "lung"
#   {size}  "12 mm" or "1.2 cm"     {s} {be} {bea}  plural where both sides are meant
_FINDINGS_TEXT: dict[str, tuple[str, ...]] = {
    "atelectasis": (
        "There is {deg}{plate} atelectasis {in}.",
        "{deg}{plate} atelectasis is seen {in}.",
        "{plate} opacities {in} are consistent with {deg}atelectasis.",
        "{deg}{side}basilar atelectasis is present.",
        "{deg}atelectasis {in} with slight elevation of the {side}hemidiaphragm{s}.",
        "Low lung volume {in} with {deg}{plate} atelectasis.",
        "Linear densities {in}, compatible with {deg}subsegmental atelectasis.",
        "Streaky {side}basilar opacities, most compatible with atelectasis.",
    ),
    "cardiomegaly": (
        "The heart is {adv}enlarged.",
        "Heart size is {adv}enlarged.",
        "The cardiac silhouette is {adv}enlarged.",
        "There is {deg}cardiomegaly.",
        "{deg}cardiomegaly is present.",
        "{deg}enlargement of the cardiac silhouette.",
        "The cardiomediastinal silhouette is {adv}enlarged.",
        "Cardiac size is {adv}increased, consistent with cardiomegaly.",
    ),
    "consolidation": (
        "There is {patchy} consolidation {in}.",
        "{patchy} airspace consolidation is seen {in}.",
        "{patchy} consolidation is noted within the {where}.",
        "{patchy} airspace opacity {in}, consistent with consolidation.",
        "{where} consolidation is present.",
        "There is a {patchy} area of consolidation {in}.",
        "{deg}airspace disease {in}.",
        "{patchy} infiltrate {in} with consolidation.",
        "There has been development of {patchy} consolidation {in}.",
    ),
    "edema": (
        "There is {deg}pulmonary edema.",
        "Diffuse interstitial opacities with perihilar haziness, consistent with {deg}pulmonary edema.",
        "{deg}interstitial edema is present.",
        "Pulmonary vascular congestion with {deg}interstitial edema.",
        "Prominent interstitial markings and Kerley B lines compatible with {deg}pulmonary edema.",
        "The pulmonary vasculature is engorged and indistinct with {deg}perihilar edema.",
        "Increased bilateral interstitial markings with vascular indistinctness, compatible with {deg}edema.",
    ),
    "effusion": (
        "There {bea}{amount}{side}pleural effusion{s}.",
        "{amount}{side}pleural effusion{s} {be} present.",
        "{amount}{side}pleural effusion{s} {be} seen.",
        "A {amount}{side}effusion is noted.",
        "Blunting of the {side}costophrenic {angle}, consistent with {amount}pleural effusion{s}.",
        "The {side}costophrenic {angle} {be} blunted by {amount}pleural effusion{s}.",
        "{side}basilar opacity with a meniscus, compatible with {amount}pleural effusion{s}.",
        "{amount}{side}pleural fluid collection{s}, consistent with effusion{s}.",
    ),
    "emphysema": (
        "The lungs are {adv}hyperinflated with flattened diaphragms, consistent with emphysema.",
        "The lungs are {adv}hyperexpanded and lucent, compatible with emphysema.",
        "{deg}emphysematous changes with flattening of the hemidiaphragms.",
        "{deg}emphysema with hyperinflation of both lungs.",
        "Hyperinflated lungs with flattened hemidiaphragms and a narrow heart, compatible with {deg}emphysema.",
        "There is {deg}hyperinflation with emphysematous change.",
        "There are {deg}emphysematous changes of the lungs.",
    ),
    "fibrosis": (
        "Coarse reticular markings {in} consistent with {deg}fibrosis.",
        "There is {deg}pulmonary fibrosis {in}.",
        "Chronic interstitial changes {in}, compatible with {deg}fibrosis.",
        "{deg}fibrotic changes are seen {in}.",
    ),
    "fracture": (
        "There is a {side}rib fracture.",
        "Deformity of a {side}rib compatible with fracture.",
        "{side}rib fracture is noted.",
        "A healing {side}rib fracture is seen.",
    ),
    "hernia": (
        "There is a {amount}hiatal hernia.",
        "Retrocardiac density with an air-fluid level, compatible with {amount}hiatal hernia.",
        "{amount}hiatal hernia is noted.",
        "A {amount}hiatal hernia is seen behind the heart.",
        "Rounded retrocardiac opacity containing air represents a {amount}hiatal hernia.",
        "An air-fluid level projects over the heart, consistent with a {amount}hiatal hernia.",
    ),
    "mass": (
        "There is a {size}mass {in}.",
        "A {size}mass is seen {in}.",
        "{where} mass measuring {sizeabout}.",
        "A large rounded mass projects over the {where}.",
        "There is a lobulated {size}mass {in}.",
        "A well-defined {size}mass is present {in}.",
        "Large {where} mass is noted.",
    ),
    "nodule": (
        "There is a {size}nodule {in}.",
        "A {size}nodule is seen {in}.",
        "A small rounded nodule projects over the {where}.",
        "{where} nodule measuring {sizeabout}.",
        "There is a {size}nodular density {in}.",
        "A {size}pulmonary nodule is noted {in}.",
        "Solitary {where} nodule.",
        "A well-circumscribed {size}nodule {in}.",
    ),
    "opacity": (
        "There are {patchy} opacities {in}.",
        "{patchy} opacity is seen {in}.",
        "{deg}{patchy} infiltrate {in}.",
        "There is an ill-defined opacity {in}.",
        "Increased {patchy} opacities {in}.",
    ),
    "pleural_thickening": (
        "There is {deg}{side}pleural thickening.",
        "{deg}{side}apical pleural thickening is seen.",
        "{side}pleural thickening is noted.",
        "Pleural thickening along the {side}chest wall.",
    ),
    "pneumonia": (
        "{patchy} airspace disease {in}, consistent with pneumonia.",
        "There is {patchy} opacity {in} suspicious for pneumonia.",
        "Findings {in} are compatible with pneumonia.",
        "{where} pneumonia is present.",
    ),
    "pneumothorax": (
        "There is a {amount}{side}pneumothorax.",
        "There is a {amount}{side}apical pneumothorax.",
        "A {amount}{side}pneumothorax is present.",
        "A thin pleural line is seen at the {side}apex, consistent with a {amount}pneumothorax.",
        "{amount}{side}pneumothorax is identified.",
        "{side}pneumothorax, {amount}in size.",
        "There is a {amount}{side}pneumothorax with partial collapse of the {side}lung.",
        "Absent lung markings at the {side}apex compatible with {amount}pneumothorax.",
    ),
}

_IMPRESSION_TEXT: dict[str, tuple[str, ...]] = {
    "atelectasis": (
        "{deg}{side}basilar atelectasis.",
        "{plate} atelectasis {in}.",
        "{deg}atelectasis {in}.",
        "{side}base atelectasis.",
    ),
    "cardiomegaly": (
        "{deg}cardiomegaly.",
        "{deg}cardiomegaly.",
        "{deg}enlargement of the cardiac silhouette.",
        "Enlarged heart.",
        "Cardiomegaly.",
    ),
    "consolidation": (
        "{where} consolidation.",
        "{where} consolidation, concerning for pneumonia.",
        "{patchy} consolidation {in}.",
        "{where} airspace consolidation. Followup to resolution is recommended.",
        "Consolidation {in}.",
    ),
    "edema": (
        "{deg}pulmonary edema.",
        "{deg}interstitial edema.",
        "Findings of {deg}pulmonary edema.",
        "Pulmonary vascular congestion and {deg}edema.",
    ),
    "effusion": (
        "{amount}{side}pleural effusion{s}.",
        "{amount}{side}pleural effusion{s}.",
        "{side}pleural effusion{s}.",
        "{amount}{side}effusion{s}.",
    ),
    "emphysema": ("{deg}emphysema.", "Emphysema.", "Changes of COPD with {deg}emphysema.", "Emphysematous changes."),
    "fibrosis": ("{deg}pulmonary fibrosis.", "Chronic fibrotic changes {in}.", "Fibrosis {in}."),
    "fracture": ("{side}rib fracture.", "Rib fracture, {side}chest wall."),
    "hernia": ("{amount}hiatal hernia.", "Hiatal hernia.", "{amount}hiatal hernia."),
    "mass": (
        "{where} mass. CT of the chest is recommended.",
        "{size}{where} mass, suspicious for malignancy.",
        "{where} mass.",
        "Mass {in}. Recommend CT for further evaluation.",
    ),
    "nodule": (
        "{where} nodule.",
        "{size}{where} nodule. CT of the chest is recommended.",
        "Pulmonary nodule {in}.",
        "{where} pulmonary nodule. Comparison with old films would be helpful.",
    ),
    "opacity": ("{where} opacity.", "{patchy} opacities {in}.", "{where} infiltrate.", "Infiltrate {in}."),
    "pleural_thickening": ("{deg}{side}pleural thickening.", "{side}pleural thickening."),
    "pneumonia": ("{where} pneumonia.", "Pneumonia {in}.", "Findings consistent with pneumonia {in}."),
    "pneumothorax": (
        "{amount}{side}pneumothorax.",
        "{amount}{side}apical pneumothorax.",
        "{side}pneumothorax.",
        "{amount}{side}pneumothorax. Followup film is recommended.",
    ),
}

_PRIOR_TEXT = (
    "This is unchanged from the prior study.",
    "Compared to prior examination, there has been no significant interval change.",
    "These findings are stable since the previous exam.",
    "Not significantly changed from prior.",
    "Slightly increased since the previous study.",
)

_ABSENT_WORDS: dict[str, tuple[str, ...]] = {
    "consolidation": (
        "focal consolidation",
        "focal airspace disease",
        "airspace consolidation",
        "focal infiltrate",
        "consolidation",
        "focal airspace opacity",
    ),
    "effusion": ("pleural effusion", "effusion", "large pleural effusion", "pleural fluid"),
    "pneumothorax": ("pneumothorax",),
    "edema": ("pulmonary edema", "edema"),
    "nodule": ("suspicious pulmonary nodule", "pulmonary nodule"),
    "mass": ("mass", "mass lesion"),
    "pneumonia": ("pneumonia",),
    "fracture": ("acute fracture", "displaced rib fracture"),
}
# absent only where none of these is present either: the words overlap
_ABSENT_UNLESS = {
    "consolidation": {"consolidation", "pneumonia", "opacity", "fibrosis"},
    "pneumonia": {"consolidation", "pneumonia", "opacity"},
    "effusion": {"effusion", "pleural_thickening"},
    "nodule": {"nodule", "mass"},
    "mass": {"nodule", "mass", "hernia"},
}
_NEGATIONS = (
    "No {list}.",
    "There is no {list}.",
    "No evidence of {list}.",
    "Negative for {list}.",
    "No {list} is seen.",
    "No {list} identified.",
    "There is no evidence of {list}.",
)

_HEART_NORMAL = (
    "The heart is normal in size.",
    "Heart size is normal.",
    "Heart size within normal limits.",
    "The cardiac silhouette is within normal limits.",
    "The cardiomediastinal silhouette is within normal limits.",
    "Normal heart size.",
    "Cardiomediastinal silhouette is unremarkable.",
    "Cardiac and mediastinal contours are within normal limits.",
)
_MEDIASTINUM_NORMAL = (
    "The mediastinum is unremarkable.",
    "Mediastinal contours are normal.",
    "The trachea is midline.",
    "The hilar contours are unremarkable.",
    "The mediastinum is stable.",
)
_LUNGS_CLEAR = (
    "The lungs are clear.",
    "Lungs are clear bilaterally.",
    "Both lungs are clear and expanded.",
    "The lungs are free of focal airspace disease.",
    "Clear lungs bilaterally.",
)
_VESSELS_NORMAL = (
    "Pulmonary vascularity is within normal limits.",
    "Pulmonary vasculature is normal.",
    "The pulmonary vascularity is normal.",
)
_BONES_NORMAL = (
    "No acute bony abnormality.",
    "The visualized osseous structures are intact.",
    "Bony structures are intact.",
    "Osseous structures are within normal limits for patient age.",
    "Degenerative changes of the thoracic spine.",
    "The skeletal structures are normal.",
    "Mild degenerative changes in the spine.",
)
_NORMAL_REPORTS = (
    ("The heart is normal in size. The mediastinum is unremarkable. The lungs are clear.", "No acute disease."),
    ("Both lungs are clear and expanded. Heart and mediastinum normal.", "No active disease."),
    (
        "Heart size normal. Lungs are clear. XXXX are normal. No pneumonia, effusions, edema, pneumothorax, "
        "adenopathy, nodules or masses.",
        "Normal chest",
    ),
    (
        "The lungs are clear bilaterally. Specifically, no evidence of focal consolidation, pneumothorax, or pleural "
        "effusion.. Cardio mediastinal silhouette is unremarkable. Visualized osseous structures of the thorax are "
        "without acute abnormality.",
        "No acute cardiopulmonary abnormality..",
    ),
    (
        "The cardiomediastinal silhouette and pulmonary vasculature are within normal limits. There is no pneumothorax "
        "or pleural effusion. There are no focal areas of consolidation. XXXX are intact.",
        "No acute cardiopulmonary abnormality.",
    ),
    (
        "Heart size within normal limits. No focal airspace consolidation, pleural effusion, or pneumothorax.",
        "No acute cardiopulmonary findings.",
    ),
)
_NORMAL_IMPRESSIONS = (
    "No acute cardiopulmonary abnormality.",
    "No acute cardiopulmonary disease.",
    "No active disease.",
    "No acute disease.",
    "No acute cardiopulmonary findings.",
    "No evidence of active disease.",
    "No acute cardiopulmonary process.",
    "Normal chest.",
    "No acute findings.",
    "Negative chest.",
    "No acute pulmonary disease.",
)

_INDICATIONS = (
    "Chest pain",
    "XXXX-year-old male with chest pain.",
    "XXXX-year-old female with XXXX.",
    "Shortness of breath.",
    "dyspnea",
    "XXXX",
    "Cough and fever.",
    "XXXX-year-old with dyspnea.",
    "Preop",
    "",
)
_COMPARISONS = ("None.", "None", "", "None available.", "XXXX.")
_PRIOR_COMPARISONS = ("XXXX, XXXX.", "PA and lateral chest x-XXXX dated XXXX.", "Two-view chest radiograph dated XXXX.")

_MESH = {
    "atelectasis": ("Pulmonary Atelectasis", True),
    "cardiomegaly": ("Cardiomegaly", False),
    "consolidation": ("Consolidation/lung", True),
    "edema": ("Pulmonary Edema", False),
    "effusion": ("Pleural Effusion", False),
    "emphysema": ("Pulmonary Emphysema", False),
    "fibrosis": ("Pulmonary Fibrosis", True),
    "fracture": ("Fractures, Bone/ribs", False),
    "hernia": ("Hernia, Hiatal", False),
    "mass": ("Mass/lung", True),
    "nodule": ("Nodule/lung", True),
    "opacity": ("Opacity/lung", True),
    "pleural_thickening": ("Thickening/pleura", False),
    "pneumonia": ("Pneumonia", True),
    "pneumothorax": ("Pneumothorax", False),
}

_NOT_IN_LUNGS = {"cardiomegaly", "hernia", "fracture"}
_CHRONIC = {"cardiomegaly", "hernia", "emphysema", "fibrosis", "pleural_thickening"}
_REMOVABLE = (
    "bony",
    "osseous",
    "structures",
    "visualized",
    "bones",
    "spine",
    "trachea",
    "hilar",
    "contours",
    "slightly",
    "angle",
    "angles",
    "examination",
    "thoracic",
    "limits",
)


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _degree(severity: float) -> int | None:
    """0 mild, 1 moderate, 2 severe, None where not stated."""
    return None if np.isnan(severity) else int(np.clip(severity * 3, 0, 2))


def _slots(finding: Finding, rng: np.random.Generator) -> dict[str, str]:
    degree = _degree(finding.severity)
    words = {"deg": "", "adv": "", "amount": ""}
    if degree is not None:
        choices = {
            "deg": (("mild ", "minimal ", "slight "), ("moderate ",), ("severe ", "marked ")),
            "adv": (("mildly ", "slightly "), ("moderately ",), ("markedly ", "severely ", "massively ")),
            "amount": (("small ", "small ", "tiny "), ("moderate ", "moderate-sized "), ("large ",)),
        }
        words = {slot: _pick(options[degree], rng) for slot, options in choices.items()}
    both = finding.side == "both"
    where = _where(finding, rng)
    known = bool(finding.zone or finding.side)
    size = ""
    if finding.size_mm > 0:
        size = f"{finding.size_mm:.0f} mm" if rng.random() < 0.45 else f"{finding.size_mm / 10:.1f} cm"
    return words | {
        "side": "bilateral " if both else f"{finding.side} " if finding.side else "",
        "where": where,
        "in": _pick(("in the {}", "within the {}") if known else ("in the {}", "in the {}s", ""), rng).format(where),
        "size": f"{size} " if size else "",
        "sizeabout": _pick(("approximately {}", "{}", "about {}"), rng).format(size),
        "s": "s" if both else "",
        "angle": "angles" if both else "angle",
        "be": "are" if both else "is",
        "bea": "are " if both else "is a ",
        "patchy": _pick(("patchy", "focal", "dense", "ill-defined", "hazy", "confluent"), rng),
        "plate": _pick(("linear", "plate-like", "discoid", "subsegmental", "bandlike", "streaky"), rng),
    }


def _where(finding: Finding, rng: np.random.Generator) -> str:
    side, zone = finding.side, finding.zone
    if not side:
        return f"{zone} lung".strip() if zone != "mid" else "mid lung"
    if side == "both":
        options = {
            "upper": ("bilateral upper lobes", "upper lungs bilaterally"),
            "mid": ("bilateral mid lungs", "perihilar regions bilaterally"),
            "lower": ("bilateral lower lobes", "bilateral lung bases", "lung bases bilaterally"),
        }
        return _pick(options.get(zone, ("bilateral lungs",)), rng)
    options = {
        "upper": (f"{side} upper lobe", f"{side} upper lung", f"{side} upper lung zone"),
        "mid": (f"{side} mid lung", f"{side} midlung", f"{side} mid lung zone"),
        "lower": (f"{side} lower lobe", f"{side} lung base", f"{side} lower lung", f"{side} base"),
    }
    if zone == "mid":
        extra = ("right middle lobe",) if side == "right" else ("lingula of the left lung",)
        return _pick(options["mid"] + extra, rng)
    return _pick(options.get(zone, (f"{side} lung",)), rng)


def _sentence(text: str) -> str:
    text = " ".join(text.split()).replace(" ,", ",").replace(" .", ".")
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    text = re.sub(
        r"\b([Tt])here is a (patchy|focal|dense|ill-defined|hazy|confluent) consolidation",
        r"\1here is \2 consolidation",
        text,
    )
    return text[:1].upper() + text[1:]


def _describe(finding: Finding, texts: dict[str, tuple[str, ...]], rng: np.random.Generator) -> str:
    options = texts[finding.finding]
    if finding.size_mm <= 0:
        options = tuple(text for text in options if "{sizeabout}" not in text)
    template = _pick(options, rng)
    if finding.side == "both" and template.startswith("A {amount}"):
        template = texts[finding.finding][0]
    return _sentence(template.format(**_slots(finding, rng)))


def _negations(present: set[str], rng: np.random.Generator, *, how_many: int) -> list[str]:
    absent = [name for name in _ABSENT_WORDS if not present & _ABSENT_UNLESS.get(name, {name})]
    weight = np.array([6.0 if name in ("consolidation", "effusion", "pneumothorax") else 1.0 for name in absent])
    if not absent or how_many == 0:
        return []
    names = rng.choice(absent, size=min(how_many, len(absent)), replace=False, p=weight / weight.sum())
    words = [_pick(_ABSENT_WORDS[str(name)], rng) for name in names]
    if len(words) > 1 and rng.random() < 0.25:
        return [_negate([word], rng) for word in words]
    return [_negate(words, rng)]


def _negate(words: list[str], rng: np.random.Generator) -> str:
    listed = (
        words[0] if len(words) == 1 else ", ".join(words[:-1]) + (", or " if len(words) > 2 else " or ") + words[-1]
    )
    return _pick(_NEGATIONS, rng).format(list=listed)


def _findings_text(findings: Sequence[Finding], rng: np.random.Generator, prior: bool) -> str:
    present = {f.finding for f in findings}
    heart, lungs, other = [], [], []
    for finding in findings:
        group = heart if finding.finding == "cardiomegaly" else other if finding.finding in _NOT_IN_LUNGS else lungs
        group.append(_describe(finding, _FINDINGS_TEXT, rng))
    if "cardiomegaly" not in present and rng.random() < 0.85:
        heart.append(_pick(_HEART_NORMAL, rng))
    if rng.random() < 0.3:
        heart.append(_pick(_MEDIASTINUM_NORMAL, rng))
    in_lungs = present - _NOT_IN_LUNGS
    if not in_lungs:
        lungs.append(_pick(_LUNGS_CLEAR, rng))
    elif rng.random() < 0.25:
        sides = {f.side for f in findings if f.finding in in_lungs}
        free = {frozenset({"left"}): "right", frozenset({"right"}): "left"}.get(frozenset(sides))
        if free:
            lungs.append(_pick((f"The {free} lung is clear.", f"{free.capitalize()} lung clear."), rng))
    if "edema" not in present and rng.random() < 0.25:
        lungs.append(_pick(_VESSELS_NORMAL, rng))
    lungs += _negations(present, rng, how_many=int(rng.choice([0, 1, 2, 3, 4], p=[0.06, 0.12, 0.37, 0.36, 0.09])))
    if prior:
        lungs.append(_pick(_PRIOR_TEXT if findings else _PRIOR_TEXT[:4], rng))
    bones = [_pick(_BONES_NORMAL, rng)] if "fracture" not in present and rng.random() < 0.5 else []
    groups = [heart, lungs, other, bones] if rng.random() < 0.6 else [lungs, other, heart, bones]
    return " ".join(sentence for group in groups for sentence in group)


def _impression_text(findings: Sequence[Finding], rng: np.random.Generator, prior: bool) -> str:
    if not findings:
        return _pick(_NORMAL_IMPRESSIONS, rng)
    order = sorted(findings, key=lambda f: -np.nan_to_num(f.severity, nan=0.5))
    sentences = []
    for finding in order:
        sentence = _describe(finding, _IMPRESSION_TEXT, rng)
        if prior and rng.random() < 0.4:
            sentence = f"{_pick(('Stable', 'Unchanged', 'Persistent'), rng)} {sentence[:1].lower()}{sentence[1:]}"
        sentences.append(sentence)
    if {f.finding for f in findings} <= _CHRONIC and rng.random() < 0.4:
        sentences.append(_pick(_NORMAL_IMPRESSIONS[:3], rng))
    if (len(sentences) > 1 and rng.random() < 0.45) or rng.random() < 0.08:
        return " ".join(f"{number}. {sentence}" for number, sentence in enumerate(sentences, start=1))
    return " ".join(sentences)


def _take_words_out(text: str, rng: np.random.Generator) -> str:
    """Put XXXX for a word or two, never for one that a finding, a side or a negation hangs on."""
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if word.strip(".,").lower() in _REMOVABLE]
    for place in rng.permutation(places)[: int(rng.integers(1, 3))] if places else []:
        word = words[place]
        words[place] = "XXXX" + (word[-1] if word[-1] in ".," else "")
    return " ".join(words)


def mesh_terms(findings: Iterable[Finding]) -> tuple[str, ...]:
    """MeSH terms as the Open-i indexers write them, e.g. ``Pleural Effusion/left/moderate``; ``normal`` for none."""
    terms = []
    for finding in findings:
        term, lobed = _MESH[finding.finding]
        parts = [term]
        if lobed and finding.zone:
            mid = "middle lobe" if finding.side == "right" else "lingula"
            parts.append({"upper": "upper lobe", "mid": mid, "lower": "base"}[finding.zone])
        if finding.side:
            parts.append("bilateral" if finding.side == "both" else finding.side)
        degree = _degree(finding.severity)
        if degree is not None and finding.finding in ("cardiomegaly", "edema", "atelectasis", "emphysema"):
            parts.append(("mild", "moderate", "severe")[degree])
        elif degree is not None and finding.finding in ("effusion", "pneumothorax", "hernia"):
            parts.append(("small", "moderate", "large")[degree])
        terms.append("/".join(parts))
    return tuple(terms) or ("normal",)


def write_report(findings: Sequence[Finding], rng: np.random.Generator, *, follow_up: bool = False) -> Report:
    """Write a report that states `findings`, and states nothing present that is not among them.

    Parameters
    ----------
    findings
        What the picture shows; none for a normal chest.
    rng
        Draws the wording, and the flaws: about 10 % have empty FINDINGS, 1 % an empty IMPRESSION, a third XXXX.
    follow_up
        The person has an earlier study; also some first studies speak of priors.
    """
    prior = bool(rng.random() < (0.7 if follow_up else 0.18))
    if not findings and not prior and rng.random() < 0.5:
        rank = 1 / np.arange(1, len(_NORMAL_REPORTS) + 1)
        text, impression = _NORMAL_REPORTS[int(rng.choice(len(_NORMAL_REPORTS), p=rank / rank.sum()))]
    else:
        text = _findings_text(findings, rng, prior)
        impression = _impression_text(findings, rng, prior)
        if rng.random() < 0.4:
            text = _take_words_out(text, rng)
    fate = rng.random()
    if fate < 0.10:
        text = ""
    elif fate < 0.11:
        impression = ""
    elif fate < 0.115:
        text = impression = ""
    comparison = _pick(_PRIOR_COMPARISONS if prior else _COMPARISONS, rng)
    return Report(text, impression, _pick(_INDICATIONS, rng), comparison, mesh_terms(findings))


def report_for_labels(labels: Iterable[str], rng: np.random.Generator) -> Report:
    """Write a report for labels that name no side, size or degree, such as those of NIH ChestX-ray14.

    Both sections are always written, without references to priors and without XXXX.

    Parameters
    ----------
    labels
        Names of `radsynth.vocabulary.FINDINGS`; none for "No Finding".
    rng
        Draws the wording.

    Raises
    ------
    ValueError
        Where a label is not in the vocabulary.
    """
    findings = [Finding(label) for label in sorted(set(labels))]
    unknown = [f.finding for f in findings if f.finding not in FINDINGS]
    if unknown:
        raise ValueError(f"not in the vocabulary: {unknown}")
    return report_for_findings(findings, rng)


def report_for_findings(findings: Sequence[Finding], rng: np.random.Generator) -> Report:
    """Write a report without flaws: both sections, no reference to priors, no XXXX.

    Parameters
    ----------
    findings
        What it states; none for a normal chest.
    rng
        Draws the wording and the order.
    """
    order = [findings[int(i)] for i in rng.permutation(len(findings))]
    text, impression = _findings_text(order, rng, False), _impression_text(order, rng, False)
    return Report(text, impression, "", "", mesh_terms(findings))
