"""Encode the reports' prompts with a frozen BERT: data/chest/embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from radsynth import settings
from radsynth.errors import one_line_errors
from radsynth.files import atomic_folder, write_json
from radsynth.reports.encode import encode, load_encoder
from radsynth.schemas import REPORTS

REPORTS_FILE = Path("data/chest/reports/reports.parquet")
OUT = Path("data/chest/embeddings")


@one_line_errors
def main() -> None:
    """Run the stage."""
    ours = settings.load().tokenize_reports
    prompts = list(REPORTS.read(REPORTS_FILE)["prompt"])
    encoder = load_encoder(ours.encoder, max_tokens=ours.max_tokens)
    tokens, lengths, pooled = encode(prompts, encoder, batch_size=ours.batch_size, progress=True)
    with atomic_folder(OUT) as folder:
        for name, array in (("tokens", tokens), ("lengths", lengths), ("pooled", pooled)):
            np.save(folder / f"{name}.npy", array)
        facts = {"encoder": ours.encoder, "digest": encoder.digest, "precision": encoder.precision}
        write_json(folder / "encoder.json", facts | {"max_tokens": ours.max_tokens, "width": encoder.width})


if __name__ == "__main__":
    main()
