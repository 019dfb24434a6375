"""Encode the sentences of the reports' prompts with a frozen BERT: data/chest/embeddings.

Every sentence that names a side is encoded once more with left and right exchanged: what a training must tell apart.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from radsynth import settings
from radsynth.errors import one_line_errors
from radsynth.files import atomic_folder, write_json
from radsynth.reports.encode import encode_reports, load_encoder
from radsynth.schemas import REPORTS

REPORTS_FILE = Path("data/chest/reports/reports.parquet")
OUT = Path("data/chest/embeddings")


@one_line_errors
def main() -> None:
    """Run the stage."""
    ours = settings.load().tokenize_reports
    prompts = list(REPORTS.read(REPORTS_FILE)["prompt"])
    encoder = load_encoder(ours.encoder, max_tokens=ours.max_tokens)
    found = encode_reports(prompts, encoder, batch_size=ours.batch_size, both_sides=True, progress=True)
    with atomic_folder(OUT) as folder:
        found.save(folder)
        np.save(folder / "pooled.npy", found.pooled())
        facts = {"encoder": ours.encoder, "digest": encoder.digest, "precision": encoder.precision}
        write_json(folder / "encoder.json", facts | {"max_tokens": ours.max_tokens, "width": encoder.width})


if __name__ == "__main__":
    main()
