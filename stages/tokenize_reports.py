"""Encode the reports' prompts with a frozen BERT: data/chest/embeddings.

Every report that names a side is encoded once more with left and right exchanged: what a training must tell apart.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from radsynth import settings
from radsynth.errors import one_line_errors
from radsynth.files import atomic_folder, write_json
from radsynth.reports.edit import sides_switched
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
    mirrored = [sides_switched(prompt) for prompt in prompts]
    sided = [row for row, (text, other) in enumerate(zip(prompts, mirrored, strict=True)) if text != other]
    switched = np.arange(len(prompts))
    switched[sided] = len(prompts) + np.arange(len(sided))
    texts = [*prompts, *(mirrored[row] for row in sided)]
    tokens, lengths, pooled = encode(texts, encoder, batch_size=ours.batch_size, progress=True)
    with atomic_folder(OUT) as folder:
        for name, array in (
            ("tokens", tokens),
            ("lengths", lengths),
            ("pooled", pooled[: len(prompts)]),
            ("switched", switched),
        ):
            np.save(folder / f"{name}.npy", array)
        facts = {"encoder": ours.encoder, "digest": encoder.digest, "precision": encoder.precision}
        write_json(folder / "encoder.json", facts | {"max_tokens": ours.max_tokens, "width": encoder.width})


if __name__ == "__main__":
    main()
