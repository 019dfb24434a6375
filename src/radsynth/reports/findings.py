"""Which findings a report states, denies or doubts, where, and how large: rules on sentences, with negation scopes.

A mention is present unless its sentence denies it (``no``, ``without``, ``: none``, ``has resolved``) or doubts it
(``possible``, ``may represent``, ``versus``, ``cannot be excluded``). ``likely``, ``probable`` and ``consistent with``
count as present. A denial reaches over a list (``no consolidation, effusion or pneumothorax``) up to the next turn of
the sentence (``but``, ``there is``, ``with``). Over a whole report a finding that is present anywhere is present, else
one that is doubted anywhere is uncertain, else one that is denied is negated. A nodule or mass of which a length is
given is large from where a lung tumour's T category changes: nodules above 20 mm (T1c), masses above 50 mm (T3).

References
----------
Chapman et al., "A simple algorithm for identifying negated findings and diseases in discharge summaries" (NegEx),
J Biomed Inform 34, 2001. Irvin et al., "CheXpert: a large chest radiograph dataset with uncertainty labels", AAAI 2019.
Goldstraw et al., "The IASLC lung cancer staging project: proposals for revision of the TNM stage groupings in the
forthcoming (eighth) edition", J Thorac Oncol 11, 2016.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from radsynth.vocabulary import FINDINGS, SIDED_FINDINGS, SIZES

PRESENT, NEGATED, UNCERTAIN = 1, 0, -1


class Labels(NamedTuple):
    """What a text says of every finding.

    `values` maps each of `vocabulary.FINDINGS` to 1 present, 0 negated or not mentioned, -1 uncertain; `sides` to the
    patient's side (``""`` not stated, ``left``, ``right``, ``both``) of what is present, or else uncertain, `zones` to
    its height in the lungs (``""`` not stated or more than one, ``upper``, ``mid``, ``lower``), `sizes` to how much
    there is of it, the largest that is stated (one of `vocabulary.SIZES`); `negated` holds the findings that the text
    denies, in the vocabulary's order.
    """

    values: dict[str, int]
    sides: dict[str, str]
    zones: dict[str, str]
    sizes: dict[str, str]
    negated: tuple[str, ...]

    def columns(self) -> dict[str, int | str]:
        """As columns of a table: ``label_``, ``side_``, ``zone_`` and ``size_`` of every finding."""
        kinds = (("label", self.values), ("side", self.sides), ("zone", self.zones), ("size", self.sizes))
        return {f"{kind}_{finding}": of[finding] for kind, of in kinds for finding in FINDINGS}


class _Mention(NamedTuple):
    start: int
    end: int
    finding: str
    value: int = PRESENT
    side: str = ""
    zone: str = ""
    size: str = ""


_HEART = r"(?:heart|cardiac (?:silhouette|size|shadow|contours?)|cardio ?mediastinal (?:silhouettes?|contours?))"
_ANGLE = r"(?:costophrenic|cp) (?:\w+ ){0,2}?(?:angles?|sulc[iu]s?|recess(?:es)?)"
# What may stand between "heart" and "enlarged" when the one is said of the other.
_GAP = (
    r"(?:(?!\b(?:but|and (?!mediast)|with|without|normal|not?|unremarkable|aorta|vascul\w+|pulmonary)\b)[^.,;]){0,60}?"
)

_PATTERNS: dict[str, str] = {
    "atelectasis": (
        r"atelecta\w+|(?:lung|lobe|lobar|segmental|subsegmental|partial) collapse"
        r"|collapse of the (?:\w+ ){1,3}l(?:ung|obe)"
    ),
    "consolidation": r"consolidat\w+",
    "edema": r"o?edema(?:tous)?",
    "effusion": r"effusions?|pleural fluid|fluid in the (?:\w+ )?pleural space",
    "emphysema": r"emphysem\w+",
    "fibrosis": r"fibros[ie]s|fibrotic",
    "fracture": r"fractur\w+",
    "hernia": r"hernia\w*",
    "mass": r"mass(?:es)?",
    "nodule": r"(?:fibro|reticulo|micro)?nodul\w+",
    "opacity": (
        r"opaci\w+|infiltrat\w+|air[ -]?space (?:disease|process)"
        r"|(?:patchy|hazy|streaky|ill-defined|increased|interstitial|linear|vague|focal|airspace|basilar)"
        r" densit(?:y|ies)"
    ),
    "pleural_thickening": (
        r"pleural (?:(?!effusion|fluid)[\w-]+[,/]? ?){0,2}thickening"
        r"|(?:(?<=effusion versus )|(?<=effusion or )|(?<=fluid or )|(?<=fluid versus ))thickening"
        r"|thickening of (?:the )?(?:\w+ )?pleura\w*|thickened pleura"
        r"|(?:bi)?apical (?:\w+ )?thickening|(?:apical|pleural) cap(?:ping|s)?"
    ),
    "pneumonia": r"(?:broncho)?pneumonias?|pneumonitis",
    "pneumothorax": r"(?:hydro|hemo|hemohydro)?pneumothora\w+|pleural air collections?",
}
_MENTION = re.compile("|".join(rf"(?P<{name}>\b(?:{words})(?!\w))" for name, words in _PATTERNS.items()))
_HYDROPNEUMOTHORAX = re.compile(r"hydropneumothora\w+")
_BLUNTED = re.compile(rf"blunt\w*(?: \w+){{0,4}}? {_ANGLE}|{_ANGLE} (?:\w+ ){{0,3}}?blunt\w*")

_HEART_ENLARGED = re.compile(
    rf"\b{_HEART}(?: size)?{_GAP}"
    r"\b(?:enlarged|enlargement|increased in size|borderline"
    r"|(?:is|remains|appears|size) (?:(?!not?\b)\w+ )?(?:large|big))\b"
)
_HEART_NOUN = re.compile(
    r"\b(?:borderline )?(?:cardiomegaly|cardiac enlargement)\b"
    rf"|\b(?:borderline )?(?:enlarge(?:d|ment)|large|big|borderline|prominent)(?: of)?(?: the| \w+)? {_HEART}\b"
)
_HEART_NORMAL = re.compile(
    rf"\b(?:normal|unremarkable) (?:size of (?:the )?)?(?:\w+ )?(?:{_HEART}|heart|cardiac|cardiomediastinal)\b"
    rf"|\b(?:{_HEART}|cardiac and mediastinal|cardiomediastinal)\b[^.;]{{0,70}}?"
    r"(?<!limits of )(?<!limit of )(?<!top )\b(?:normal|unremarkable|not (?:\w+ )?(?:enlarged|large|big))\b"
)
_ANGLES_CLEAR = re.compile(
    rf"{_ANGLE} (?:\w+ ){{0,3}}?(?:clear|sharp|preserved|not blunted|unremarkable)\b|clear {_ANGLE}"
    r"|pleural spaces? (?:(?:is|are|appears?) )?(?:\w+ )?(?:clear|normal|unremarkable)"
)

# Words that hold a finding's name and mean something else.
_NOT_MEANT = re.compile(
    r"(?:pericardial|joint|knee) effusions?|(?:subcutaneous|soft tissue|mediastinal) emphysema"
    r"|(?:soft tissue|subcutaneous|pedal|leg|extremity) edema|cystic fibrosis|mass effect"
    r"|(?:inguinal|umbilical|ventral|abdominal|dis[ck]) hernia\w*|air[ -]?space opaci\w+ (?=in the history)"
    r"|(?:wires?|leads?|catheters?|screws?) (?:\w+ ){0,3}fractur\w+"
    r"|fractur\w+ (?:\w+ ){0,5}(?:wires?|leads?|catheters?|screws?)|opacif(?:ied|ication) of (?:\w+ )?vess\w+"
)

_EARLIER = r"(?:on|in|at) (?:\w+ ){0,2}(?:prior|previous|earlier|older|comparison)\w*"
_HARDLY = r"(?:not|nearly|almost|partial\w*|partly|largely|mostly|incompletely)"
_SEEN = r"(?:seen|identified|present|visuali[sz]ed|appreciated|evident|demonstrated|noted|detected|apparent|found)"
_TRIGGERS: dict[str, str] = {
    # Tried in this order at each place of a sentence. Neutral: the finding is there and has not changed, or the words
    # only join two others.
    "neutral": (
        r"(?:no|not|without)(?: an?y?)?"
        r" (?:(?:significant|interval|appreciable|definite|substantial|obvious|gross|overt|other|real|much) )*"
        r"(?:chang\w+|increase[ds]?|decrease[ds]?|improve\w+|worsen\w+|progress\w+|enlarg\w+ of the)"
        r"|(?:absent|absence of|no|without) (?:\w+ )?(?:lung|vascular|bronchovascular) markings"
        r"|not (?:only|calcified|certain\w*|clear(?:ly)?|well|fully|optimally|definit\w+ calcified)"
        r"|(?:consistent|compatible|associated|along|in keeping|correlat\w+|compar\w+) with"
        r"|(?:no|without|incomplete|partial|near[- ]complete) (?:\w+ )?(?:resolution|clearing)(?: of)?"
        rf"|{_HARDLY} (?:\w+ly |yet )*(?:resolved|cleared|disappeared)"
        rf"|not (?:\w+ly )?{_SEEN} {_EARLIER}|not previously {_SEEN}|not {_SEEN} previously"
        r"|(?:ensure|document|confirm|until|to|complete|for|assess|evaluate)(?: \w+)? (?:resolution|clearing) of"
    ),
    # Doubt about what stands before.
    "doubted": (
        r"(?:is|are|was|were) (?:also |less |considered |felt to be )*"
        r"(?:possible|questioned|suspected|considered|unlikely|not (?:\w+ )?excluded|equivocal|in the differential)"
        r"|(?:can ?not|could not) (?:\w+ly )?be (?:\w+ly )?(?:excluded|ruled out)"
        r"|(?:(?:has|have|had) not (?:yet )?been |not )(?:\w+ly )?(?:excluded|ruled out)"
        r"|(?<=: )(?:possible|questionable|suspected|equivocal)(?=[.,]|$)"
        r"|(?:hard|difficult) to (?:\w+ly )?exclude(?!,? \w)"
        r"|less likely|unlikely|would be (?:a|in the) (?:consideration|differential)"
    ),
    # Doubt about what follows.
    "doubt": (
        r"(?:can ?not|could not|can't|not|unable to|difficult to|hard to|impossible to) (?:\w+ly )?(?:exclude|rule out)"
        r"|possib(?:le|ly|ility)(?: of)?|may(?! not be)|might|could|questionable|question(?: of)?|suspect\w*"
        r"|suspicio\w+|concern\w*|suggest\w*|versus|vs|rule out|exclude|differential|worrisome|potential(?:ly)?"
        r"|equivocal|r/o|evaluat\w+ (?:for|of)|correlate (?:\w+ )?(?:for|of)"
        r"|in the (?:appropriate|right|proper) clinical setting"
    ),
    # Denial of what stands before.
    "gone": (
        rf"(?:has|have|had) (?:(?!{_HARDLY}\b)\w+ ){{0,3}}?(?:resolved|cleared|disappeared)"
        rf"|(?:is|are|was|were) (?:now |\w+ly )?(?:no longer|not) (?!previously)(?:\w+ly )?{_SEEN}"
        rf"(?! (?:previously|{_EARLIER}))|no longer (?:\w+ )?{_SEEN}"
        r"|(?:has|have|had) (?:now |\w+ly )?been (?:\w+ly )?(?:excluded|ruled out)"
        r"|(?<=: )(?:none|nil|(?:no|absent|negative)(?=[.,]|$))"  # "Pneumothorax: None."
        rf"|(?:is|are) absent|(?:is|are|was|were) (?:excluded|ruled out|negative)|not (?:\w+ly )?{_SEEN}"
        rf"|may not be (?:\w+ly )?{_SEEN}|resolved(?= (?:since|in|on|from|completely|now)\b|[.,]|$)"
    ),
    # Denial of what follows.
    "denial": (
        r"no|not|nor|neither|without|negative for|free of|free from|clear of|clear(?= (?:airspace|focal|infiltrate))"
        r"|absence of|absent|denies|(?:interval )?(?:resolution|clearing) of|resolved(?= \w+)|rather than"
    ),
    # A turn of the sentence, where denial and doubt end.
    "turn": (
        r"but|however|although|though|except|apart from|aside from|other than|besides|yet|despite|while|whereas"
        r"|there (?:is|are|has|have|was|were|remains?)|which|with|given|otherwise"
        r"|and(?= (?:a|mild|minimal|moderate|stable|persistent|unchanged|the|improved|improving|worsening|small)\b)"
        rf"|{_HEART}(?= (?:is|remains|appears|size))|status post"
    ),
}
_TRIGGER = re.compile(
    r"\b(?:"
    + "|".join(f"(?P<{kind}>{words})" for kind, words in _TRIGGERS.items())
    + r")\b|(?P<comma_turn>,(?= (?:a|mild|minimal|stable|persistent|unchanged|there|improved|probable|likely)\b))"
)
_JOINED = re.compile(r"(?!.*\b(?:is|are|was|were|has|have|there|with|but|in|at)\b)(?:[^.;:]{0,40}|: )$")

_SIDE = re.compile(
    r"\b(?:(?P<left>left(?:-sided)?|lingula\w*)|(?P<right>right(?:-sided)?)"
    r"|(?P<both>bilateral(?:ly)?|both|bibasi\w+|bibasal|biapical|(?:lung )?bases|apices|bases))\b"
)
_ZONE = re.compile(
    r"\b(?:(?P<upper>upper(?= (?:(?:and|or) (?:\w+ ){1,2})?(?:lobes?|lungs?|zones?)\b)|(?:bi)?apical|apex|apices)"
    r"|(?P<mid>(?:mid|middle) ?(?:left |right )?(?:lobes?|lungs?|zones?)|(?:peri|infra)?hilar|lingula\w*)"
    r"|(?P<lower>lower(?= (?:lobes?|lungs?|zones?)\b)|bases?|(?:bi)?bas(?:al|ilar)|retrocardiac))\b"
)
SIZE_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "small": {
        "amount": ("tiny", "small"),
        "trace": ("trace",),
        "degree": ("minimal", "slight", "mild"),
        "manner": ("minimally", "slightly", "mildly"),
    },
    "moderate": {"amount": ("moderate",), "manner": ("moderately",)},
    "large": {
        "amount": ("large", "massive"),
        "degree": ("severe", "marked", "extensive"),
        "manner": ("severely", "markedly", "massively"),
    },
}
"""Words that say how much there is of a finding, by one of `vocabulary.SIZES` and by what they say of it."""

_OF_SIZE = "|".join(f"(?P<{size}>{'|'.join(itertools.chain(*kinds.values()))})" for size, kinds in SIZE_WORDS.items())
SIZE = re.compile(rf"\b(?:{_OF_SIZE})(?:-sized)?\b(?!-)", re.IGNORECASE)
"""One of `SIZE_WORDS`; its group is the size."""

NUMBER = re.compile(r"\d+(?:\.\d+)?")
"""A number of a `LENGTH`."""

LENGTH = re.compile(
    rf"\b{NUMBER.pattern}(?:(?: ?(?:mm|cm))?(?: ?[x\u00d7] ?| by ){NUMBER.pattern}){{0,2}} ?(mm|cm)\b", re.IGNORECASE
)
"""A measured length (``4 cm``), or a size in two or three directions (``6 x 4 cm``, ``6 cm x 41 mm``); its group is
the unit of the last number."""

_APPOSED = re.compile(
    rf"[^,]*,(?: \w+ to)? (?P<words>{_OF_SIZE})(?:-sized)?(?: in size)?\s*(?=[.,;:]|$)"
)  # "effusion on the left, large"
_MODERATE_MM = {"nodule": (10, 20), "mass": (30, 50)}
_CONJUNCTION = re.compile(r",|\band\b|\bwith\b|\bor\b|\bbut\b|\bversus\b")
_LOCATION = re.compile(r"\s*(?:in|at|on|within|of|involving|overlying|along|near|throughout|to)\b|\s*bilateral")
_SENTENCE = re.compile(r"(?<=[.!?;])(?<!\b[Vv]s\.)\s+|;")


def split_sentences(text: str) -> list[str]:
    """Split a text into its sentences; a semicolon ends one too, a decimal point does not."""
    return [sentence for part in _SENTENCE.split(text) if (sentence := part.strip())]


def sentences_read(text: str) -> list[str]:
    """The sentences that a text encoder reads one by one: those of `split_sentences`, or one empty one."""
    return split_sentences(text) or [""]


def label_text(text: str) -> Labels:
    """Label a report's text, best after `radsynth.reports.clean.clean_text`.

    Parameters
    ----------
    text
        English report text of one or more sentences.

    Returns
    -------
    Labels
        Values, sides, zones, sizes and denied findings, for every finding of the vocabulary.
    """
    by_finding: dict[str, list[_Mention]] = {}
    for sentence in split_sentences(text.lower()):
        for mention in _read_sentence(sentence):
            by_finding.setdefault(mention.finding, []).append(mention)
    values = dict.fromkeys(FINDINGS, 0)
    sides, zones, sizes = (dict.fromkeys(FINDINGS, "") for _ in range(3))
    negated = []
    for finding in FINDINGS:
        mentions = by_finding.get(finding, ())
        said = {mention.value for mention in mentions}
        if PRESENT in said or UNCERTAIN in said:
            values[finding] = PRESENT if PRESENT in said else UNCERTAIN
            told = [mention for mention in mentions if mention.value == values[finding]]
            sizes[finding] = _largest(mention.size for mention in told)
            if finding in SIDED_FINDINGS:
                sides[finding] = _joined_side({mention.side for mention in told})
                zones[finding] = _joined_zone({mention.zone for mention in told})
        elif said:
            negated.append(finding)
    return Labels(values, sides, zones, sizes, tuple(negated))


def stated_findings(sentence: str) -> tuple[tuple[str, int], ...]:
    """Every mention of a finding in one sentence, with its value: 1 present, 0 negated, -1 uncertain."""
    return tuple((mention.finding, mention.value) for mention in _read_sentence(sentence.lower()))


def names_side(text: str) -> bool:
    """Whether the text names the left or the right: a mirrored picture would contradict it."""
    return _LEFT_OR_RIGHT.search(text) is not None


def lengths_mm(text: str) -> list[float]:
    """The lengths that a text measures, in millimetres; of a size in more directions than one the largest."""
    return [max(_directions_mm(size)) for size in LENGTH.finditer(text)]


def has_negation(text: str) -> bool:
    """Whether the text denies anything."""
    return _NEGATION.search(text) is not None


def mentions_prior(text: str) -> bool:
    """Whether the text compares with an earlier study, which no single picture can show."""
    return _PRIOR.search(text) is not None


_LEFT_OR_RIGHT = re.compile(r"\b(?:left|right)\b", re.IGNORECASE)
_NEGATION = re.compile(
    r"\b(?:no|not|without|negative|free of|clear of|absen(?:t|ce)|nor|neither|none|resolved|resolution"
    r"|been (?:\w+ly )?(?:excluded|ruled out))\b",
    re.IGNORECASE,
)
_PRIOR = re.compile(
    r"\b(?:unchanged|stable|interval|previous(?:ly)?|prior|again|since|compar(?:ed|ison)|new|redemonstrat\w+|improved"
    r"|improving|worsen(?:ed|ing)|increased|decreased|resolved|persist\w+|no (?:\w+ )?change)\b",
    re.IGNORECASE,
)


def _directions_mm(size: re.Match[str]) -> list[float]:
    numbers = re.findall(rf"({NUMBER.pattern}) ?(mm|cm)?", size[0].lower())
    return [float(number) * (10 if (unit or size[1].lower()) == "cm" else 1) for number, unit in numbers]


@functools.lru_cache(maxsize=2**16)
def _read_sentence(sentence: str) -> tuple[_Mention, ...]:
    sentence = _NOT_MEANT.sub(lambda match: "-" * len(match[0]), sentence)
    mentions = [
        _Mention(*match.span(), match.lastgroup)
        for match in _MENTION.finditer(sentence)
        if not ("collapse" in match[0] and "pneumothora" in sentence)  # the pneumothorax's own, no finding beside it
    ]
    mentions += [_Mention(*m.span(), "effusion") for m in _HYDROPNEUMOTHORAX.finditer(sentence)]
    mentions += [_Mention(*m.span(), "effusion", UNCERTAIN) for m in _BLUNTED.finditer(sentence)]
    for match in _HEART_NOUN.finditer(sentence):
        mentions.append(_Mention(*match.span(), "cardiomegaly", UNCERTAIN if "borderline" in match[0] else PRESENT))
    mentions.sort()
    mentions = _with_values(sentence, mentions)
    mentions = _with_places(sentence, mentions)
    for match in _HEART_ENLARGED.finditer(sentence):
        doubtful = re.search(r"borderline|\b(?:may|might|could|possibl[ey]|question)", match[0])
        value = UNCERTAIN if doubtful else PRESENT
        mentions.append(_Mention(*match.span(), "cardiomegaly", value, size=_size_in(match[0])))
    mentions += [_Mention(*m.span(), "cardiomegaly", NEGATED) for m in _HEART_NORMAL.finditer(sentence)]
    mentions += [_Mention(*m.span(), "effusion", NEGATED) for m in _ANGLES_CLEAR.finditer(sentence)]
    return tuple(mentions)


def _with_values(sentence: str, mentions: list[_Mention]) -> list[_Mention]:
    """Decide each mention by what stands before it, then by what stands after it."""
    if not mentions:
        return mentions
    triggers = [(m.start(), m.end(), m.lastgroup) for m in _TRIGGER.finditer(sentence)]
    values = []
    for mention in mentions:
        denied = doubted = False
        for _, end, kind in triggers:
            if end > mention.start:
                break
            if kind in ("turn", "comma_turn"):
                denied = doubted = False
            denied |= kind == "denial"
            doubted |= kind == "doubt"
        values.append(NEGATED if denied else UNCERTAIN if doubted else mention.value)
    for start, _, kind in triggers:
        if kind not in ("gone", "doubted"):
            continue
        end = start
        for index in range(len(mentions) - 1, -1, -1):
            if mentions[index].end > start:
                continue
            if not _JOINED.match(sentence[mentions[index].end : end]):
                break
            if values[index] != NEGATED:
                values[index] = NEGATED if kind == "gone" else UNCERTAIN
            end = mentions[index].start
    unchanged = _UNCHANGED.search(sentence)
    doubting = unchanged.end() if unchanged else len(sentence)
    for index, (mention, following) in enumerate(itertools.pairwise(mentions)):
        again = mention.finding == following.finding and sentence.startswith(":", mention.end)
        if again:  # "Pneumothorax: no pneumothorax."
            values[index] = values[index + 1]
        alternative = mention.start < doubting and _ALTERNATIVE.fullmatch(sentence[mention.end : following.start])
        if alternative and NEGATED not in values[index : index + 2]:
            values[index] = values[index + 1] = UNCERTAIN
    for index, mention in enumerate(mentions):
        if values[index] == PRESENT and mention.start < doubting and _OTHER.match(sentence[mention.end :]):
            values[index] = UNCERTAIN
    return [mention._replace(value=value) for mention, value in zip(mentions, values, strict=True)]


_UNCHANGED = re.compile(
    r"\b(?:no|without) (?:\w+ ){0,3}?(?:chang|increas|decreas|improve|worsen|progress)\w* (?:in|of)\b"
)
_ALTERNATIVE = re.compile(r",?(?: \w+)? (?:and/or|or|versus|vs\.?) (?:\w+ ){0,3}|/")
_OTHER = re.compile(r",? (?:and/or|or|versus|vs)\b")


def _with_places(sentence: str, mentions: list[_Mention]) -> list[_Mention]:
    """Give each mention the side, the zone and the size whose words belong to it."""
    if not mentions or not any(words.search(sentence) for words in (_SIDE, _ZONE, SIZE, LENGTH)):
        return mentions
    edges = [0]  # where the words of one mention end and those of the next begin
    for mention, following in itertools.pairwise(mentions):
        between = sentence[mention.end : following.start]
        conjunctions = list(_CONJUNCTION.finditer(between))
        if conjunctions:
            edges.append(mention.end + conjunctions[-1].start())
        else:
            edges.append(following.start if _LOCATION.match(between) else mention.end)
    edges.append(len(sentence))
    sides, zones = (_places(sentence, mentions, edges, read) for read in (_sides_in, _zones_in))
    sizes = [
        _size_of(mention, sentence[begin : mention.end], sentence[mention.end : max(end, mention.end)])
        for mention, (begin, end) in zip(mentions, itertools.pairwise(edges), strict=True)
    ]
    places = zip(mentions, sides, zones, sizes, strict=True)
    return [m._replace(side=side, zone=zone, size=size) for m, side, zone, size in places]


def _places(sentence: str, mentions: list[_Mention], edges: list[int], read: Callable[[str], str]) -> list[str]:
    """The place of each mention: from the words before it, else from those of the place named after it."""
    found = []
    for index, mention in enumerate(mentions):
        words = sentence[edges[index] : mention.start]
        before = read(_OTHER_CLAUSE.sub("", words)) or read(words)
        after = read(sentence[mention.end : max(edges[index + 1], mention.end)])
        found.append(before or read(sentence[mention.start : mention.end]) or after)
    for index in range(1, len(mentions)):  # "left effusion and atelectasis", "opacity in the left base with effusion"
        between = sentence[mentions[index - 1].end : mentions[index].start]
        if not found[index] and (_SHARED.fullmatch(between) or _WITH.search(between)):
            found[index] = found[index - 1]
    for index in range(len(mentions) - 2, -1, -1):  # "atelectasis and effusion on the left"
        if not found[index] and _SHARED.fullmatch(sentence[mentions[index].end : mentions[index + 1].start]):
            found[index] = found[index + 1]
    return found


_OTHER_CLAUSE = re.compile(r"^.*(?<!there )\b(?:is|are|was|were|remains?|clear|in place|tip)\b.*?(?:,| with\b| and\b)")
_WITH = re.compile(r"\b(?:with|by) (?:\w+ ){0,3}$")
_SHARED = re.compile(
    r",? ?(?:and|or|and/or|with|versus|vs\.?|representing|consistent with|compatible with)? (?:\w+ ){0,2}|/|"
)


def _sides_in(text: str) -> str:
    return _joined_side({match.lastgroup or "" for match in _SIDE.finditer(text)})


def _joined_side(sides: set[str]) -> str:
    sides = sides - {""}
    if len(sides) > 1 or "both" in sides:
        return "both"
    return sides.pop() if sides else ""


def _zones_in(text: str) -> str:
    return _joined_zone({match.lastgroup or "" for match in _ZONE.finditer(text)})


def _joined_zone(zones: set[str]) -> str:
    zones = zones - {""}
    return zones.pop() if len(zones) == 1 else ""


def _size_of(mention: _Mention, before: str, after: str) -> str:
    """The size of one mention, from the words up to its end and those that follow: a length counts before a word."""
    lengths = lengths_mm(f"{before} {after}")
    if lengths and mention.finding in _MODERATE_MM:
        return SIZES[1 + sum(max(lengths) > limit for limit in _MODERATE_MM[mention.finding])]
    apposed = _APPOSED.match(after)
    return _size_in(before) or _size_in(_CONJUNCTION.split(after)[0]) or _size_in(apposed["words"] if apposed else "")


def _size_in(text: str) -> str:
    return _largest(match.lastgroup or "" for match in SIZE.finditer(text))


def _largest(sizes: Iterable[str]) -> str:
    return max(sizes, key=SIZES.index, default="")
