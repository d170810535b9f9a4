"""The folder into which `keras-mae predict` writes the masks of a segmenter."""

from __future__ import annotations

import json
import os
import zipfile

from keras_mae.trainers import run

REPORT = "report.json"  # in the folder: what was segmented, and how well


def writes_masks(run_path: str) -> bool:
    """Whether predictions of the run, or of the model's file, that `--run` names are masks."""
    if run_path.endswith(".keras"):
        if not os.path.isfile(run_path):
            return False
        with zipfile.ZipFile(run_path) as archive:  # Keras takes seconds
            return json.loads(archive.read("config.json")).get("class_name") == "ImageSegmenter"
    folder = run.RunFolder(run_path)
    return os.path.exists(folder / run.CONFIG) and folder.config()[0].program == "segment"


def check_folder(output: str, overwrite: bool) -> None:
    """Refuses, with a ValueError, a folder for masks that is taken."""
    if os.path.splitext(output)[1].lower() in (".csv", ".png"):
        raise ValueError(
            f"--output={output} is a file's name, and a segmenter's predictions are a folder of PNG files; type "
            f"--output={os.path.splitext(output)[0]}"
        )
    if os.path.lexists(output) and not os.path.isdir(output):
        raise ValueError(f"--output={output} is a file, and a segmenter's predictions are a folder of PNG files")
    if not os.path.isdir(output) or not os.listdir(output):
        return
    if not os.path.exists(os.path.join(output, REPORT)):
        raise ValueError(f"the folder {output} holds something that is not a segmenter's predictions; name another")
    if not overwrite:
        raise ValueError(f"{output} is there already: name another --output, or replace it with --overwrite")
