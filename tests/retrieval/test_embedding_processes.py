"""Processes that are killed while they embed, and several devices."""

import json
import os
import signal
import time

import numpy as np
import pytest

from keras_mae import cli
from keras_mae.retrieval import open_vectors
from tests.base import random_images, run_forked, small_encoder
from tests.retrieval import embedding

SHAPE = (8, 8, 3)
NAME = "tests.retrieval.test_embedding_processes"


def embed(folder, output, *flags):
    arguments = (f"--run={folder}/encoder.keras", f"--data=npz:{folder}/images.npz", f"--output={folder}/{output}")
    return cli.main(["embed", "--batch_size=16", *arguments, *flags])


def embed_quickly(folder, output):
    """Without a model, whose loading takes most of the time of a short run."""
    return embedding.embed(embedding.array_source(4_000), f"{folder}/{output}", 16, 256).num_vectors


def shards_of(output):
    """The shards that are there, without those that are being written."""
    try:
        return [name for name in os.listdir(f"{output}.shards") if name.endswith(".parquet") and "writing" not in name]
    except OSError:
        return []


def killed(embed, folder, output, kills, every):
    """Kills a process each time that it has written so many shards more; returns their numbers, and how it ended."""
    from tests.forked import Child

    counts = []
    for _ in range(kills):
        child = Child(embed, folder, output)
        before = len(shards_of(f"{folder}/{output}"))
        while len(shards_of(f"{folder}/{output}")) < before + every and child.ended() is None:
            time.sleep(0.002)
        if not child.kill():
            raise RuntimeError("it was over before it was killed")
        counts.append(len(shards_of(f"{folder}/{output}")))
    return counts, Child(embed, folder, output).result()


def terminated(folder, output):
    """Sends SIGTERM after the first shard; returns the exit code."""
    from tests.forked import Child

    child = Child(embed, folder, output)
    while not shards_of(f"{folder}/{output}"):
        time.sleep(0.002)
    os.kill(child.pid, signal.SIGTERM)
    return child.result()


def whole(folder, count):
    """Writes the images and the encoder, and embeds them without an interruption."""
    np.savez(f"{folder}/images.npz", images=random_images(count, SHAPE), labels=np.arange(count) % 7)
    small_encoder(SHAPE, hidden_dim=32).save(f"{folder}/encoder.keras")
    return embed(folder, "whole.parquet")


def children(which, folder):
    from tests.forked import Child

    if which == "few":
        whole_one = Child(embed_quickly, folder, "whole.parquet").result()
        return {"whole": whole_one, "killed": killed(embed_quickly, folder, "killed.parquet", 1, 3)}
    found = {"whole": Child(whole, folder, 20_000).result()}
    found["killed"] = killed(embed, folder, "killed.parquet", 3, 5)
    found["terminated"] = terminated(folder, "terminated")
    found["continued"] = Child(embed, folder, "terminated").result()
    found["mirrored"] = Child(embed, folder, "mirrored.npz", "--strategy=mirrored", devices=2).result()
    return found


def results(which, folder):
    done = run_forked("-m", "tests.forked", NAME, which, str(folder))
    assert done.returncode == 0, done.stderr[-4000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return json.loads(line.removeprefix("RESULT ")), done.stderr


def check_killed(folder):
    assert embedding.contents(f"{folder}/killed.parquet")[0][1] == embedding.contents(f"{folder}/whole.parquet")[0][1]
    assert not [name for name in os.listdir(folder) if "shards" in name or "writing" in name]


@pytest.mark.medium
def test_a_process_that_is_killed_loses_nothing(tmp_path):
    found, _ = results("few", tmp_path)
    counts, number = found["killed"]
    assert found["whole"] == number == 4_000 and 3 <= counts[0] < 16
    embedding.check(tmp_path / "killed.parquet", embedding.array_source(4_000))
    check_killed(tmp_path)


@pytest.mark.slow
def test_twenty_thousand_images_through_three_kills(tmp_path):
    found, errors = results("many", tmp_path)
    counts, code = found["killed"]
    assert found["whole"] == code == 0 and len(counts) == 3 and counts == sorted(set(counts)) and counts[-1] < 20
    check_killed(tmp_path)
    vectors = open_vectors(f"{tmp_path}/killed.parquet")
    np.testing.assert_array_equal(vectors.index, np.arange(20_000))
    np.testing.assert_array_equal(vectors.labels, np.arange(20_000) % 7)
    assert found["terminated"] == 143 and found["continued"] == 0
    assert "keras-mae embed: asked to end (SIGTERM): " in errors
    assert "of 20000 images are embedded, in " in errors
    for output in ("terminated", "mirrored.npz"):  # another order of float32 sums on two devices
        np.testing.assert_allclose(open_vectors(f"{tmp_path}/{output}").array(), vectors.array(), atol=1e-5)
    np.testing.assert_array_equal(open_vectors(f"{tmp_path}/terminated").array(), vectors.array())
