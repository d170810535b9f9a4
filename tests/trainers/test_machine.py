"""What a run notes of its machine, at its start and when it is resumed elsewhere."""

import json
import os
import platform
from importlib import metadata

import pytest

from keras_mae.one_writer import released
from keras_mae.trainers import machine, recipes, run


def test_the_machine_is_this_one():
    facts = machine.machine()
    assert facts["cores"] == len(os.sched_getaffinity(0)) and facts["gpus"] == []
    with open("/proc/meminfo", encoding="utf-8") as file:
        kilobytes = int(file.readline().split()[1])
    assert facts["memory"] == pytest.approx(1024 * kilobytes, rel=0.01)
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        assert facts["processor"] in file.read()
    assert facts["system"] == f"{platform.system()} {platform.machine()}"
    versions = machine.versions()
    assert versions["Keras"] == metadata.version("keras") and versions["Python"] == platform.python_version()
    assert "unknown" not in versions.values()


def test_a_resume_on_another_machine_is_noted_and_one_on_the_same_is_not(tmp_path, monkeypatch):
    config = recipes.load("mae_digits")

    def start(resume):
        with released():
            run.RunFolder(str(tmp_path / "run")).start(config, "digits", resume, False)
        return json.loads((tmp_path / "run" / "config.json").read_text())

    first = start(False)
    before = os.stat(tmp_path / "run" / "config.json")
    assert start(True) == first and os.stat(tmp_path / "run" / "config.json") == before
    monkeypatch.setattr(run, "machine", lambda: {"processor": "another"})
    later = start(True)
    assert later["machine"] == [*first["machine"], {"processor": "another"}] and later["versions"] == first["versions"]
    assert {**later, "machine": first["machine"]} == first
    old = {key: value for key, value in first.items() if key not in ("machine", "versions")}  # of an earlier version
    (tmp_path / "run" / "config.json").write_text(json.dumps(old))
    assert start(True)["machine"] == [{"processor": "another"}]
