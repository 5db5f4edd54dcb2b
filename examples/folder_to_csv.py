"""Classify all pictures in a folder into a CSV table: file, label, score.

python examples/folder_to_csv.py FOLDER TABLE.csv [MODEL.tflite]
"""

import csv
import sys
from pathlib import Path

from edge_classify import Classifier, classify_frames, open_source

if len(sys.argv) not in (3, 4):
    sys.exit("usage: python examples/folder_to_csv.py FOLDER TABLE.csv [MODEL.tflite]")
folder, table = sys.argv[1:3]
classifier = Classifier(sys.argv[3] if len(sys.argv) > 3 else None)
with open_source(folder) as source, Path(table).open("w", newline="") as file:
    rows = csv.writer(file)
    rows.writerow(["file", "label", "score"])
    for result in classify_frames(source, classifier):
        found = result.classification
        rows.writerow([result.frame.name, found.label, f"{found.score:.3f}"])
