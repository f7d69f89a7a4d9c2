"""One training by fastText, which ``bench/train.py`` runs in an environment of its own.

Reads JSON from standard input: the path of a file in fastText's format, texts to predict, and the arguments
of ``train_supervised``. Prints JSON with the seconds of the training and the predicted labels.
"""

from __future__ import annotations

import json
import sys
import time

import fasttext


def main() -> None:
    """Train once and predict."""
    task = json.load(sys.stdin)
    began = time.perf_counter()
    model = fasttext.train_supervised(task["path"], verbose=0, **task["arguments"])
    seconds = time.perf_counter() - began
    labels = [found[0] if found else "" for found in model.predict(task["texts"])[0]] if task["texts"] else []
    json.dump({"seconds": seconds, "labels": labels}, sys.stdout)


if __name__ == "__main__":
    main()
