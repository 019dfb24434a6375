"""Writing reports as the XML documents of the Open-i collection (Indiana University chest X-rays)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lxml import etree

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_openi_xml(
    report_id: str,
    *,
    findings: str,
    impression: str,
    indication: str = "",
    comparison: str = "",
    image_ids: Iterable[str] = (),
    mesh: Iterable[str] = (),
    automatic: Iterable[str] = (),
    caption: str = "Xray Chest PA and Lateral",
    publisher: str = "radsynth",
    title: str = "Synthetic chest X-ray report",
) -> bytes:
    """Write one report as an Open-i ``eCitation`` document.

    The elements that carry the report are those of the collection, in its order: ``uId/@id``,
    ``MedlineCitation/Article/Abstract`` with the four labelled ``AbstractText`` sections (an empty section is an
    empty element, never a missing one), ``MeSH/major`` and ``MeSH/automatic``, and one ``parentImage`` an image. As
    in the collection an image's ``url`` ends in .jpg although the archive holds PNG files: only ``parentImage/@id``,
    the stem of the file's name, can be trusted. Characters that XML cannot hold are left out.

    Parameters
    ----------
    report_id
        As `uId` shall name it, e.g. ``CXR17``.
    findings, impression, indication, comparison
        Text of the four sections; ``""`` for an empty one.
    image_ids
        Stems of the report's image files.
    mesh, automatic
        MeSH terms given by hand (``Pleural Effusion/left/small``) and by machine.
    caption
        Caption of every image.
    publisher, title
        Who made the document, and its title.

    Returns
    -------
    bytes
        The document, UTF-8 with an XML declaration; the same bytes for the same arguments.

    References
    ----------
    Demner-Fushman et al., "Preparing a collection of radiology examinations for distribution and retrieval", JAMIA
    23(2), 2016; https://openi.nlm.nih.gov
    """
    number = report_id.removeprefix("CXR")
    root = etree.Element("eCitation")
    _add(root, "meta", type="rr")
    _add(root, "uId", id=report_id)
    _add(root, "pmcId", id=number)
    _add(root, "docSource", "CXR")
    _add(root, "IUXRId", id=number)
    _add(root, "articleURL")
    _add(root, "articleType", "XR")
    _add(root, "publisher", publisher)
    _add(root, "title", title)
    _add(root, "specialty", "pulmonary diseases")
    _add(root, "subset", "CXR")
    article = _add(_add(root, "MedlineCitation", Owner=publisher), "Article", PubModel="Electronic")
    _add(article, "ArticleTitle", title)
    abstract = _add(article, "Abstract")
    sections = {"COMPARISON": comparison, "INDICATION": indication, "FINDINGS": findings, "IMPRESSION": impression}
    for label, text in sections.items():
        _add(abstract, "AbstractText", text, Label=label)
    _add(article, "Language", "eng")
    _add(_add(article, "PublicationTypeList"), "PublicationType", "Radiology Report")
    terms = _add(root, "MeSH")
    for term in mesh:
        _add(terms, "major", term)
    for term in automatic:
        _add(terms, "automatic", term)
    for position, image_id in enumerate(image_ids, start=1):
        image = _add(root, "parentImage", id=image_id)
        _add(image, "figureId", f"F{position}")
        _add(image, "caption", caption)
        panel = _add(image, "panel", type="single")
        _add(panel, "url", f"/hadoop/storage/radiology/extract/{image_id}.jpg")
        _add(panel, "imgModality", "7")
    return etree.tostring(root, xml_declaration=True, encoding="utf-8", pretty_print=True)


def _add(parent: etree._Element, tag: str, text: str = "", **attributes: str) -> etree._Element:
    child = etree.SubElement(parent, tag, {name: _NOT_XML.sub("", value) for name, value in attributes.items()})
    child.text = _NOT_XML.sub("", text) or None
    return child
