"""A run without a network works, and tries to reach nothing."""

import functools
import subprocess

import pytest

from tests.base import run_python
from tests.drawn import TINY, write_pictures

# The kernel counts, for each namespace, what could not be sent anywhere: look-ups of names among it.
COUNT = """
def unsent():
    with open("/proc/self/net/snmp") as file:
        names, values = [line.split()[1:] for line in file if line.startswith("Ip:")]
    return int(dict(zip(names, values))["OutNoRoutes"])
"""
IN_NAMESPACE = (
    'import os, sys; os.execvp("unshare", ["unshare", "-rn", sys.executable, "-c", sys.argv[1], *sys.argv[2:]])'
)


@functools.cache
def refusal():
    """Why this machine gives no network namespace; empty if it does."""
    try:
        process = subprocess.run(["unshare", "-rn", "true"], capture_output=True, text=True)
    except OSError as error:
        return str(error)
    return process.stderr.strip() if process.returncode else ""


def without_network(script, *arguments):
    """Runs a script in a network namespace that has no way out."""
    if refusal():
        pytest.skip(f"needs a network namespace, unshare -rn: {refusal()}")
    process = run_python("-c", IN_NAMESPACE, COUNT + script, *map(str, arguments))
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout


def test_the_count_sees_a_look_up_and_a_connection():
    script = """
import socket
for attempt in (lambda: socket.create_connection(("192.0.2.1", 80)), lambda: socket.getaddrinfo("example.com", 80)):
    before = unsent()
    try:
        attempt()
    except OSError:
        pass
    print(unsent() > before)
"""
    assert without_network(script).split() == ["True", "True"]


@pytest.mark.slow
def test_pretraining_and_export_contact_no_address(tmp_path):
    write_pictures(str(tmp_path / "images"), 8)
    settings = [f"--set={setting}" for setting in (*TINY, "epochs=1", "warmup_epochs=0")]
    script = """
from keras_mae import cli
folder, *settings = sys.argv[1:]
start = ["pretrain", "--recipe=mae_small_images", f"--data=folder:{folder}/images", f"--output={folder}/run"]
assert cli.main([*start, *settings]) == 0
assert cli.main(["export", f"--run={folder}/run", f"--output={folder}/model"]) == 0
print("unsent:", unsent())
"""
    assert without_network("import sys\n" + script, tmp_path, *settings).splitlines()[-1] == "unsent: 0"
    assert (tmp_path / "model" / "1" / "saved_model.pb").is_file()
