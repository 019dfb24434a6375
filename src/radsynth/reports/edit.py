"""Edits of a report that change one finding and nothing else: deny it, put it on the other side, change its size.

An edit is made sentence by sentence and then read back with `radsynth.reports.findings.label_text`: where the labels
say that it did not do what it should, or changed more than it should, there is no edit.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from radsynth.reports.findings import (
    LENGTH,
    NEGATED,
    NUMBER,
    PRESENT,
    SIZE,
    SIZE_WORDS,
    Labels,
    label_text,
    split_sentences,
    stated_findings,
)
from radsynth.vocabulary import FINDINGS, SIDED_FINDINGS

GENERIC = "opacity"
"""A word that also describes other findings ("airspace opacity, consistent with consolidation"): it may change along
with the finding whose sentence it stands in."""

HARMLESS = "The trachea is midline."
"""The sentence that `unrelated` adds where a report has none that could go."""

_NAMES = {
    "edema": "pulmonary edema",
    "effusion": "pleural effusion",
    "fracture": "rib fracture",
    "hernia": "hiatal hernia",
    "pleural_thickening": "pleural thickening",
}
_OTHER_SIDE = {"left": "right", "right": "left"}
_SIDES = re.compile(
    r"\b(?:(?P<lingula>lingula of the left lung|lingula)|(?P<middle>right middle lobe)|(?P<side>left|right))\b", re.I
)
_ONE_LUNG_CLEAR = r"\b{} lung (?:(?:is|remains|appears) )?clear\b"
_SMALL_AND_LARGE = {"amount": ("small", "large"), "degree": ("mild", "severe"), "manner": ("mildly", "markedly")}
_KIND = {word: kind for kinds in SIZE_WORDS.values() for kind, words in kinds.items() for word in words}
_BY_DEGREE = {"atelectasis", "cardiomegaly", "edema", "emphysema", "pleural_thickening", "consolidation", "opacity"}
"""Findings of which "moderate" is a degree (mild, severe), not an amount (small, large)."""


def negated(text: str, finding: str) -> str | None:
    """Deny a finding: the sentences that state it go, ``No <finding>.`` stands where the first one was.

    Returns
    -------
    str or None
        None where the text does not state the finding, states another one in the same sentence, or still states it
        in words that the rules on sentences do not find.
    """
    sentences = _own_sentences(text, finding)
    if sentences is None:
        return None
    kept, told = [], False
    for sentence, own in sentences:
        if not own:
            kept.append(sentence)
        elif not told:
            kept.append(f"No {_NAMES.get(finding, finding)}.")
            told = True
    edited = " ".join(kept)
    before, after = label_text(text), label_text(edited)
    done = after.values[finding] == NEGATED and finding in after.negated
    return edited if done and _same_but(before, after, finding) else None


def switched(text: str, finding: str) -> str | None:
    """Put a finding on the patient's other side, in every sentence that states it.

    A sentence that calls the lung of the new side clear goes.

    Returns
    -------
    str or None
        None where the finding has no side, is on both, shares its sentence, or where another finding would move too.
    """
    if finding not in SIDED_FINDINGS:
        return None
    before = label_text(text)
    new = _OTHER_SIDE.get(before.sides[finding])
    sentences = _own_sentences(text, finding)
    if new is None or sentences is None:
        return None
    clear = re.compile(_ONE_LUNG_CLEAR.format(new), re.I)
    edited = " ".join(
        _SIDES.sub(_mirrored, sentence) if own else sentence
        for sentence, own in sentences
        if own or not clear.search(sentence)
    )
    after = label_text(edited)
    moved = after.sides[finding] == new and after.values == before.values
    others = all(after.sides[f] == before.sides[f] for f in FINDINGS if f not in (finding, GENERIC))
    return edited if moved and others else None


def resized(text: str, finding: str) -> tuple[str, int] | None:
    """Change a finding's stated size: what is large becomes small, all else becomes large.

    Words of amount and degree are exchanged, lengths doubled or halved, in every sentence that states the finding. A
    size in more directions than one goes by its largest number, and all its numbers change.

    Returns
    -------
    tuple or None
        The text and the direction, +1 larger or -1 smaller. None where no size is stated, the sentences say different
        ones, or a length doubled is not large yet.
    """
    sentences = _own_sentences(text, finding)
    if sentences is None:
        return None
    before = label_text(text)
    sizes = {label_text(sentence).sizes[finding] for sentence, own in sentences if own} - {""}
    directions = {-1 if size == "large" else 1 for size in sizes}
    if len(directions) != 1:
        return None
    direction = directions.pop()
    edited = " ".join(
        LENGTH.sub(_scaled(direction), SIZE.sub(_sized(direction, finding), sentence)) if own else sentence
        for sentence, own in sentences
    )
    after = label_text(edited)
    others = all(after.sizes[f] == before.sizes[f] for f in FINDINGS if f not in (finding, GENERIC))
    same = after._replace(sizes=before.sizes) == before
    turned = (after.sizes[finding] == "large") != (before.sizes[finding] == "large")
    return (edited, direction) if turned and same and others else None


def removed(text: str, finding: str) -> str | None:
    """Leave out the sentences that state a finding, and say nothing of it.

    Returns
    -------
    str or None
        None where no sentence states it, nothing else is said, or it is still read in what is left.
    """
    sentences = split_sentences(text)
    kept = [sentence for sentence in sentences if label_text(sentence).values[finding] != PRESENT]
    if not kept or len(kept) == len(sentences):
        return None
    edited = " ".join(kept)
    return edited if label_text(edited).values[finding] != PRESENT else None


def sides_switched(text: str) -> str:
    """Exchange left and right throughout, whatever they are said of; the lingula and the right middle lobe too."""
    return _SIDES.sub(_mirrored, text)


def unrelated(text: str) -> str:
    """Change a report in what no finding hangs on: its first sentence without one goes, or `HARMLESS` is added."""
    sentences = split_sentences(text)
    before = label_text(text)
    for place in range(len(sentences) if len(sentences) > 1 else 0):
        edited = " ".join(sentences[:place] + sentences[place + 1 :])
        if not stated_findings(sentences[place]) and label_text(edited) == before:
            return edited
    return f"{text} {HARMLESS}"


def _own_sentences(text: str, finding: str) -> list[tuple[str, bool]] | None:
    """Every sentence, and whether it states (or doubts) the finding; None where none does, or one states others too."""
    found = []
    for sentence in split_sentences(text):
        said = {name for name, value in stated_findings(sentence) if value != NEGATED}
        if finding in said and said - {finding, GENERIC}:
            return None
        found.append((sentence, finding in said))
    return found if any(own for _, own in found) else None


def _same_but(before: Labels, after: Labels, finding: str) -> bool:
    return all(before.values[f] == after.values[f] for f in FINDINGS if f not in (finding, GENERIC))


def _cased(word: str, like: str) -> str:
    return word.capitalize() if like[:1].isupper() else word


def _mirrored(match: re.Match[str]) -> str:
    if match["lingula"]:
        return _cased("right middle lobe", match[0])
    return _cased("lingula" if match["middle"] else _OTHER_SIDE[match["side"].lower()], match[0])


def _sized(direction: int, finding: str) -> Callable[[re.Match[str]], str]:
    def exchanged(match: re.Match[str]) -> str:
        word = match[0].lower().removesuffix("-sized")
        kind = "degree" if word == "moderate" and finding in _BY_DEGREE else _KIND[word]
        return _cased(_SMALL_AND_LARGE[kind][direction > 0], match[0]) if kind in _SMALL_AND_LARGE else match[0]

    return exchanged


def _scaled(direction: int) -> Callable[[re.Match[str]], str]:
    def exchanged(match: re.Match[str]) -> str:
        number = float(match[0]) * (2 if direction > 0 else 0.5)
        return f"{number:.{1 if '.' in match[0] else 0}f}"

    return lambda length: NUMBER.sub(exchanged, length[0])
