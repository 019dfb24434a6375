"""Reading and encoding reports, measured as ratios against plain versions of the same work.

Run as ``python -m benchmarks.reports [FOLDER]``: FOLDER holds ``NLMCXR_reports.tgz`` (all 3,955 Open-i reports);
without it reports are written by the embedded sample's templates. Each ratio is the median over rounds in which both
versions run one after the other.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lxml import etree

from radsynth.reports import clean, findings
from radsynth.reports.encode import TextEncoder, encode_reports, load_encoder
from radsynth.reports.findings import sentences_read
from radsynth.reports.parse import parse_report, parse_reports
from radsynth.schemas import RAW_REPORTS
from radsynth.sources.archives import iter_members
from radsynth.sources.openi_xml import write_openi_xml
from radsynth.sources.raw_chest import report_id_of
from radsynth.sources.report_writer import report_for_labels
from radsynth.vocabulary import FINDINGS


def load(folder: Path | None, count: int = 3955) -> pd.DataFrame:
    """A RAW_REPORTS table of the archive in `folder`, or of `count` reports written from random labels."""
    if folder is not None:
        members = iter_members(folder / "NLMCXR_reports.tgz", suffixes=(".xml",))
        rows = [(report_id_of(xml, name), name, name, xml) for name, xml in members]
    else:
        rng = np.random.default_rng(0)
        rows = []
        for number in range(count):
            report = report_for_labels(rng.choice(FINDINGS, size=rng.integers(0, 4), replace=False), rng)
            name = f"CXR{number}"
            xml = write_openi_xml(name, findings=report.findings, impression=report.impression, image_ids=[name])
            rows.append((name, name, name, xml))
    return pd.DataFrame(rows, columns=list(RAW_REPORTS.columns))


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def for_each(work: Callable[[bytes], object], documents: list[bytes]) -> None:
    """Do the same to every document and keep nothing."""
    for document in documents:
        work(document)


def one_at_a_time(sentences: list[str], encoder: TextEncoder) -> list[np.ndarray]:
    """The loop as it is usually written: one sentence, one forward pass, float32."""
    vectors = []
    for sentence in sentences:
        inputs = encoder.tokenizer([sentence], return_tensors="pt", truncation=True, max_length=encoder.max_tokens)
        with torch.no_grad():
            hidden = encoder.model(**inputs.to(encoder.model.device)).last_hidden_state
        vectors.append(hidden[0].cpu().numpy())
    return vectors


def parse_cold(raw: pd.DataFrame) -> None:
    """Parse, clean and label with empty caches."""
    for cache in (clean.clean_text, clean._without_tokens, findings._read_sentence):
        cache.cache_clear()
    parse_reports(raw)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="folder with NLMCXR_reports.tgz")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sentences", type=int, default=512, help="sentences to encode")
    options = parser.parse_args()
    raw = load(options.folder)
    documents = list(raw["xml"])

    pairs = []
    for _ in range(options.rounds):
        bare = seconds(lambda: for_each(etree.fromstring, documents))
        pairs.append((bare, seconds(lambda: for_each(parse_report, documents))))
    ratio = statistics.median(safe / bare for bare, safe in pairs)
    bare, safe = (min(column) for column in zip(*pairs, strict=True))
    print(f"reports: safe parsing with sections and image ids: {ratio:.2f} x a bare lxml parse (goal: at most 2)")
    print(f"reports: {len(documents)} of them: {bare:.2f} s bare, {safe:.2f} s safe")
    whole = min(seconds(lambda: parse_cold(raw)) for _ in range(options.rounds))
    print(f"reports: parsing, cleaning, labels, tables: {whole:.2f} s (goal: at most 3)")

    prompts = list(parse_reports(raw)[0]["prompt"])
    written = [sentence for prompt in prompts for sentence in sentences_read(prompt)]
    distinct = list(dict.fromkeys(written))
    sentences = distinct[:: max(1, len(distinct) // options.sentences)][: options.sentences]
    encoder = load_encoder()
    encode_reports(sentences[:8], encoder), one_at_a_time(sentences[:8], encoder)
    ratios = []
    for _ in range(max(1, options.rounds // 2)):
        plain = seconds(lambda: one_at_a_time(sentences, encoder))
        ratios.append(plain / seconds(lambda: encode_reports(sentences, encoder)))
    plain_vectors = np.concatenate(one_at_a_time(sentences, encoder))
    ours = encode_reports(sentences, encoder).vectors.astype(np.float32)
    difference = np.linalg.norm(ours - plain_vectors) / np.linalg.norm(plain_vectors)
    batching = statistics.median(ratios)
    repeated = len(written) / len(distinct)
    print(
        f"reports: BERT features: {batching * repeated:.2f} x the one-at-a-time loop (goal: at least 2): "
        f"{batching:.2f} x by batches of like length in {encoder.precision} ({len(sentences)} sentences measured, "
        f"vectors differ by {difference:.4f}), {repeated:.2f} x by encoding each of {len(distinct)} distinct ones once"
    )


if __name__ == "__main__":
    main()
