"""Making report text fit to be read by a text encoder: no de-identification tokens, no numbering, nothing short."""

from __future__ import annotations

import functools
import re

TOKEN = re.compile(r"XXXX+")
"""What the de-identification of the Open-i reports left where it took a word away."""

# Places where the words around the token leave one reading. The program that made the collection anonymous took
# surnames for names of people: Ray, Bones, Nodes, Wires, Median, Likely... No finding is put in by these.
_RESTORED: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\b([Xx])-XXXX\b", r"\1-ray"),
        (r"\bX XXXX\b", "X-ray"),
        (r"\bXXXX[- ]year[- ]old\b", "adult"),
        (r"\b([Nn])o XXXX of\b", r"\1o evidence of"),
        (r"\b([Nn])ote is XXXX of\b", r"\1ote is made of"),
        (r"\b([Mm])ost XXXX\b", r"\1ost likely"),
        (r"\b((?:[Rr]ight|[Ll]eft)(?: \w+)? [Cc]ostophrenic) XXXX\b(?! are\b)", r"\1 angle"),
        (r"\b([Cc])ostophrenic XXXX(?= blunting\b| is\b)", r"\1ostophrenic angle"),
        (r"\b([Cc])ostophrenic XXXX\b", r"\1ostophrenic angles"),
        (r"\b([Cc]alcified (?:(?:left|right) )?hilar) XXXX\b", r"\1 lymph nodes"),
        (r"\b([Ll])ymph XXXX\b", r"\1ymph nodes"),
        (r"\b([Pp])ulmonary XXXX (?=is\b|are\b|appear|remain|and\b|within\b|normal\b)", r"\1ulmonary vasculature "),
        (r"\b([Aa])ortic XXXX\b", r"\1ortic arch"),
        (r"\b([Ll])ung XXXX (?=are\b|clear\b|bilaterally\b)", r"\1ung fields "),
        (r"\b([Hh])eart XXXX(?=, mediastinum| is\b| within\b)", r"\1eart size"),
        (r"\b([Bb])owel XXXX pattern\b", r"\1owel gas pattern"),
        (r"\bchest XXXX (?=tip\b|catheter\b)", "chest port "),
        (r"\bsuperior XXXX XXXX\b", "superior vena cava"),
        (r"\b([Vv])isualized XXXX (?=of the chest\b)", r"\1isualized bones "),
        (r"\b([Ll])oss of XXXX\b", r"\1oss of height"),
        (r"\bXXXX sternotomy\b", "median sternotomy"),
        (r"\b([Ss])ternotomy XXXX\b", r"\1ternotomy wires"),
        (r"\b([Dd])ual-XXXX\b", r"\1ual-lead"),
        (r"\bXXXX (?=(?:represent|reflect|indicat|relat|secondary|due)(?:s|ing|ed|e|es)?\b)", "likely "),
        (r"(?<=, |y |s )XXXX (?=(?:scarring|atelectasis|subsegmental)\b)", "likely "),
    )
)

_PREPOSITION = r"(?:in|on|at|from|to|of|with|by|for|since|than|dated|the|a|an|and|or|as|per|via|near|Dr\.?)"
_FOLLOWING = r"(?:with|without|in|on|at|from|of|which|that|since|is|are|was|were|as)\b"
_VERB = r"(?:is|are|was|were|has|have|had|appears?|remains?|looks?|seems?)"
# A sentence or clause whose subject was taken away tells nothing: "XXXX are normal."
_NO_SUBJECT = re.compile(
    r"(?:(?<=^)|(?<=[.:;] ))(?:\d+[.)] ?)?(?:[Tt]he |[Vv]isualized |[Tt]his )?"
    rf"XXXX(?: XXXX)* {_VERB}\b[^.;:]*(?:[.;:]|$)"
)
# And one whose verb was: "The heart and lungs have XXXX XXXX in the interval."
_NO_VERB = re.compile(
    r"(?:(?<=^)|(?<=[.:;] ))[^.;:]*\b(?:has|have) XXXX(?: XXXX)*(?= (?:in|since|from)\b|[.;:]|$)[^.;:]*(?:[.;:]|$)"
)
_HYPHENED = re.compile(r"(?:\b\w{1,2}-)?XXXX(?:-\w{0,2}-?XXXX)+|XXXX-(?=[a-z])|(?<=[a-z])-XXXX")
_COORDINATED = re.compile(r"(?:(?<=^)|(?<=[.;:,] )|(?<=[Tt]he ))XXXX(?: XXXX)*,? (?:and|or|/) ?")
_COORDINATED_AFTER = re.compile(r",? (?:and|or) XXXX\b(?= (?:is|are|was|were|appears?|remains?)\b|[.,;:]|$)")
_DANGLING = re.compile(rf"(?: {_PREPOSITION}){{1,2}} XXXX(?:[/ ,-]*XXXX)*(?=\s*(?:[.,;:)]|$| {_FOLLOWING}))")
_TIME = re.compile(r"XXXX(?: hours| [ap]\.?m\b\.?)", re.IGNORECASE)

# A number of a list stands before its item; where the item before lacks its full stop, it seems to end that one:
# "1. Cardiomegaly 2. Effusion", "Chest 1. No effusion".
_NUMBERING = re.compile(
    r"(?:(?<=^)|(?<=[.:;!?] )|(?<=[a-z][.]))\(?(?P<before>\d{1,2})[.)](?=\s|[A-Z])\s*"
    r"|(?<=[a-z]) (?P<at_end>\d{1,2})\.(?=\s|$)"
)
_HEADING = re.compile(r"(?:^|[.;:!?] )\w+(?: \w+)?$")
_NUMBERED = re.compile(
    r"\b(?:ribs?|vertebrae?|cervical|thoracic|lumbar|levels?|images?|series|segments?|stage|grade|type"
    r"|and|or|to|of|for|by|than|x)$",
    re.IGNORECASE,
)
_SIDES, _LOBES = (("r", "right"), ("l", "left")), (("u", "upper"), ("m", "middle"), ("l", "lower"))
# What radiologists write short, and rules and text encoders of general words do not read.
_SHORT: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(rf"\b{short}", re.IGNORECASE), meant)
    for short, meant in (
        *((rf"{a}{b}l\b", f"{side} {zone} lobe") for a, side in _SIDES for b, zone in _LOBES if (a, b) != ("l", "m")),
        (r"ptx\b", "pneumothorax"),
        (r"b/l\b", "bilateral"),
        (r"w/o\b", "without"),
        (r"w/ ?(?=[a-z])", "with "),
    )
)
_BRACKETS = re.compile(r"[(\[<]\s*[.,;:/-]*\s*[)\]>]")
_SPACE = re.compile(r"[^\S ]|\s{2,}")
_BEFORE_STOP = re.compile(r"[\s,;:/-]+([.;:!?])")
_BEFORE_COMMA = re.compile(r"\s+,|,(?:\s*,)+")
_AFTER_STOP = re.compile(r"([.;:!?])[\s.,;:/-]*(?:[.;:,!?][\s.,;:/]*)+")
_FUSED = re.compile(r"(?<=[a-z]{2})\.(?=[A-Z][a-z])")
_LOWER_START = re.compile(r"(?<=^)[a-z]|(?<=[.;!?] )[a-z]")
_LEADING = re.compile(r"^[\s.,;:!?/-]+")
_STOPS_ALONE = re.compile(
    r"(?<=[.;:!?]) (?:[Tt]he|[Aa]n?|(?<!: )[Nn]o|[Tt]here (?:is|are)|[Aa]nd|[Oo]f|[Ii]n) ?(?=[.;:!?]|$)[.;:!?]?"
)
_SENTENCE_END = re.compile(r"(?<=[.;]) (?=[A-Z0-9])")


def normalise_space(text: str) -> str:
    """Collapse white space to single spaces and strip both ends."""
    return " ".join(text.split())


def count_tokens(text: str) -> int:
    """Count de-identification tokens."""
    return len(TOKEN.findall(text))


@functools.lru_cache(maxsize=2**14)
def clean_text(text: str) -> str:
    """Return the text without de-identification tokens (``XXXX``), list numbers and stray punctuation.

    Where the words around a token leave one reading, that is put back (``x-XXXX`` is an x-ray, ``no XXXX of`` is no
    evidence of); a sentence that lost its subject (``XXXX are normal.``) goes; a phrase that lost its end (``compared
    to XXXX``) loses its preposition as well; elsewhere the token alone is taken out. Abbreviations of places, sides and
    a few more words are written out (``RUL``, ``b/l``, ``w/o``, ``PTX``). Measurements and vertebrae (``1.5 cm``,
    ``T12``, ``rib 7.``) stay.

    Parameters
    ----------
    text
        One section of a report, or several joined.

    Returns
    -------
    str
        Cleaned text; ``""`` where nothing was left. It never holds ``XXXX``, and cleaning it again changes nothing.
    """
    text = normalise_space(text)
    if "XXXX" in text:
        sentences = _SENTENCE_END.split(TOKEN.sub("XXXX", text))
        text = " ".join(_without_tokens(sentence) if "XXXX" in sentence else sentence for sentence in sentences)
    while (tidied := _tidy(text)) != text:
        text = tidied
    return text


@functools.lru_cache(maxsize=2**14)
def _without_tokens(text: str) -> str:
    for pattern, replacement in _RESTORED:
        text = pattern.sub(replacement, text)
    if "XXXX" not in text:
        return text
    text = _TIME.sub("XXXX", text)
    text = _HYPHENED.sub(" ", text)
    text = _NO_SUBJECT.sub("", text)
    text = _NO_VERB.sub("", text)
    text = _DANGLING.sub("", text)
    text = _COORDINATED_AFTER.sub("", text)
    text = _COORDINATED.sub("", text)
    return TOKEN.sub("", text)


def _tidy(text: str) -> str:
    for short, meant in _SHORT:
        text = short.sub(meant, text)
    text = _FUSED.sub(". ", text)
    text = _without_numbering(text)
    text = _BRACKETS.sub("", text)
    text = _SPACE.sub(" ", text)
    text = _BEFORE_COMMA.sub(",", text)
    text = _BEFORE_STOP.sub(r"\1", text)
    text = _AFTER_STOP.sub(r"\1 ", text)
    text = _STOPS_ALONE.sub("", text)
    text = _LEADING.sub("", text).strip()
    return _LOWER_START.sub(lambda match: match[0].upper(), text)


def _without_numbering(text: str) -> str:
    """The text without the numbers of its lists; of numbers at a sentence's end only those that continue a list go."""
    listed, kept = 0, (0, 0)

    def without(match: re.Match[str]) -> str:
        nonlocal listed, kept
        number, before = int(match["before"] or match["at_end"]), text[: match.start()]
        follows = number == listed + 1
        if match["before"]:
            stays = not follows and kept == (number - 1, len(before.rstrip()))  # "ribs 5. 6. 7."
        else:
            heads = number == 1 and _HEADING.search(before)
            stays = bool(_NUMBERED.search(before)) or not (heads or (listed and follows))
        if stays:
            kept = number, len(text[: match.end()].rstrip())
            return match[0]
        listed = number
        return "" if match["before"] else "."

    return _NUMBERING.sub(without, text)
