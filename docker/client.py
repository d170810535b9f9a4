"""Sends image files to a model of TensorFlow Serving, and prints a line of JSON for each; the standard library will do.

python docker/client.py http://localhost:8501 xrays picture.jpg another.png
"""

from __future__ import annotations

import base64
import json
import sys
import time
import urllib.error
import urllib.request

_WAIT_SECONDS = 60  # for a server that has just been started


def ask(url: str, model: str, files: list[bytes]) -> list:
    """What the model's `serving_default` answers to each file: an embedding, or a dict of outputs."""
    request = {"instances": [{"b64": base64.b64encode(file).decode()} for file in files]}
    return _opened(f"{url}/v1/models/{model}:predict", json.dumps(request).encode())["predictions"]


def wait_for(url: str, model: str, seconds: float = _WAIT_SECONDS) -> None:
    """Returns when the model can be asked; the last error is raised if it cannot within the time."""
    end = time.monotonic() + seconds
    while True:
        try:
            versions = _opened(f"{url}/v1/models/{model}")["model_version_status"]
            if any(version["state"] == "AVAILABLE" for version in versions):
                return
            error: Exception = RuntimeError(f"{model} is not available: {versions}")
        except (OSError, RuntimeError) as raised:
            error = raised
        if time.monotonic() > end:
            raise error
        time.sleep(0.5)


def _opened(url: str, data: bytes | None = None) -> dict:
    try:
        with urllib.request.urlopen(url, data, timeout=60) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:  # its text says what is wrong with a file
        raise RuntimeError(f"{url}: {error.code} {error.read().decode(errors='replace')}") from error


def main(url: str, model: str, *paths: str) -> None:
    """Asks for all files in one request."""
    files = []
    for path in paths:
        with open(path, "rb") as file:
            files.append(file.read())
    wait_for(url, model)
    for path, answer in zip(paths, ask(url, model, files), strict=True):
        print(json.dumps({"file": path, "answer": answer}))


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit("usage: python client.py URL MODEL FILE [FILE ...]")
    main(*sys.argv[1:])
