import tarfile

import pytest
from lxml import etree

from radsynth.sources.openi_xml import write_openi_xml


def sections(xml: bytes) -> dict[str, str]:
    return {e.get("Label"): e.text or "" for e in etree.fromstring(xml).iter("AbstractText")}


def test_an_empty_section_is_an_empty_element():
    xml = write_openi_xml("CXR7", findings="", impression="No acute disease.")
    assert sections(xml) == {"COMPARISON": "", "INDICATION": "", "FINDINGS": "", "IMPRESSION": "No acute disease."}
    assert b'<AbstractText Label="FINDINGS"/>' in xml


def test_text_survives_markup_and_characters_that_xml_cannot_hold():
    xml = write_openi_xml("CXR7", findings="a < b & c \x00\x0b> \u00b5 d", impression="")
    assert sections(xml)["FINDINGS"] == "a < b & c > \u00b5 d"


def test_images_are_named_by_id_and_their_url_says_jpg():
    root = etree.fromstring(write_openi_xml("CXR7", findings="", impression="", image_ids=["CXR7_IM-1-1", "x"]))
    assert [e.get("id") for e in root.iter("parentImage")] == ["CXR7_IM-1-1", "x"]
    assert [e.text for e in root.iter("figureId")] == ["F1", "F2"]
    assert [e.text.rsplit("/")[-1] for e in root.iter("url")] == ["CXR7_IM-1-1.jpg", "x.jpg"]


def test_mesh_terms_keep_their_order_and_kind():
    xml = write_openi_xml("CXR7", findings="", impression="", mesh=["b/left", "a"], automatic=["c"])
    root = etree.fromstring(xml)
    assert [e.text for e in root.findall("MeSH/major")] == ["b/left", "a"]
    assert [e.text for e in root.findall("MeSH/automatic")] == ["c"]
    assert root.find("uId").get("id") == "CXR7"


def test_there_is_no_doctype():
    assert b"DOCTYPE" not in write_openi_xml("CXR7", findings="x", impression="y")


@pytest.mark.realdata
def test_every_element_written_lies_where_the_real_collection_has_it(realdata):
    def paths(root: etree._Element) -> set[tuple[str, tuple[str, ...]]]:
        tree = root.getroottree()
        return {(tree.getpath(e).translate(DIGITS), tuple(sorted(e.attrib))) for e in root.iter()}

    with tarfile.open(realdata / "openi" / "NLMCXR_reports.tgz") as archive:
        real = paths(etree.fromstring(archive.extractfile("ecgen-radiology/2.xml").read()))
    written = write_openi_xml(
        "CXR2", findings="a", impression="b", image_ids=["i", "j"], mesh=["m", "n"], automatic=["c"]
    )
    ours = paths(etree.fromstring(written))
    owner = "/eCitation/MedlineCitation"
    assert {p for p, _ in ours} <= {p for p, _ in real}
    assert {p for p in ours if p[0] != owner} <= real


DIGITS = str.maketrans("", "", "[]0123456789")
