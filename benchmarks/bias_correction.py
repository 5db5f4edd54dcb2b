"""What bias correction gives int8: the same run converted with it and without, measured on held-out photos.

python benchmarks/bias_correction.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

from common import CELLS, WORK, machine, model_file

from edge_classify import Classifier
from edge_convert import conversion
from edge_convert.contract import LABELS, attach, labels_part
from edge_convert.metadata import add_metadata
from edge_convert.run_folder import read_run
from edge_convert.verification import measure


def main() -> None:
    print(machine())
    for alpha, resolution in CELLS:
        model_file(alpha, resolution)
        run = read_run(WORK / "runs" / f"{alpha}_{resolution}")
        (cell,) = run.cells
        print(f"{alpha}@{resolution}: float32 {cell.evaluation['accuracy']:.1%}", end="")
        for text, round_weights in (("without", lambda *_: None), ("with", conversion.round_weights)):
            patch = mock.patch.object(conversion, "round_weights", new=round_weights)
            with patch, tempfile.TemporaryDirectory() as folder:
                model = conversion.convert(run, cell, "int8")
                model = add_metadata(model, name="", description="", labels_file=LABELS, mean=127.5, deviation=127.5)
                path = Path(folder) / "model.tflite"
                path.write_bytes(attach(model, {LABELS: labels_part(run.labels)}))
                figures = measure(Classifier(path), run, cell)
            print(f"; int8 {text} {figures['accuracy']:.1%}, agreement {figures['agreement']:.1%}", end="")
        print()


if __name__ == "__main__":
    main()
