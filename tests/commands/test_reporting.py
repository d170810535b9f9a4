"""`keras-mae report` as a user types it."""

import os
import subprocess
import sys

import pytest

from keras_mae import cli
from tests.base import ROOT
from tests.run_report.folders import epoch, write_run
from tests.typed import refused


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", [epoch(1), epoch(2)])


def test_it_writes_page_and_curve_and_replaces_them(capfd, run):
    for _ in range(2):
        assert cli.main(["report", f"--run={run}"]) == 0
        first, second = capfd.readouterr().out.splitlines()
        assert first.startswith(f"wrote {run}/report.html, 0.0 MB") and second == f"wrote {run}/loss.png"


def test_with_an_output_the_run_stays_as_it_is(capfd, run, tmp_path):
    before = sorted(os.listdir(run))
    other = write_run(tmp_path / "other", [epoch(1)])
    assert cli.main(["report", f"--run={run}", f"--run={other}", f"--output={tmp_path}/new/Two.HTML"]) == 0
    assert sorted(os.listdir(tmp_path / "new")) == ["Two.HTML", "Two_loss.png"] and sorted(os.listdir(run)) == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "needs --run; see keras-mae report --help"),
        (["--run="], "--run is empty; give it the folder of a run"),
        (["--run=FOLDER/gone"], "FOLDER/gone: there is no such folder"),
        (["--run=FOLDER"], "FOLDER is not the folder of a run: it holds no config.json"),
        (["--run=FOLDER/run/config.json"], "config.json is a file; name the folder of a run"),
        (["--run=RUN", "--run=RUN/"], "RUN/ is given twice: name each run once"),
        (["--run=RUN", "--run=FOLDER"], "a page of several runs needs --output, the HTML file to write"),
        (["--run=RUN", "--output=FOLDER"], "--output=FOLDER is a folder; type --output=FOLDER/report.html"),
        (["--run=RUN", "--output=FOLDER/model.keras"], "model.keras is no page; type --output=FOLDER/model.html"),
        (["--run=gs://bucket/run"], "a run lies in a folder of a local disk, got gs://bucket/run"),
    ],
)
def test_what_cannot_work_is_refused_in_a_line(capfd, run, tmp_path, flags, message):
    flags = [flag.replace("RUN", run).replace("FOLDER", str(tmp_path)) for flag in flags]
    said = refused(capfd, "report", *flags)
    assert message.replace("RUN", run).replace("FOLDER", str(tmp_path)) in said


def test_it_needs_no_tensorflow(run):
    """In a process of its own, whose import of TensorFlow would take seconds."""
    script = (
        "import sys; from keras_mae import cli; code = cli.main(['report', '--run=' + sys.argv[1]]);"
        "print(code, 'tensorflow' in sys.modules, 'keras' in sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", script, run], capture_output=True, text=True, cwd=ROOT)
    assert process.stdout.splitlines()[-1] == "0 False False", process.stderr


def test_a_folder_whose_name_is_no_utf_8(capfd, tmp_path):
    path = write_run(os.fsdecode(os.fsencode(tmp_path) + b"/r\xffn"), [epoch(1)])
    assert cli.main(["report", f"--run={path}"]) == 0
    assert "r\\udcffn/report.html" in capfd.readouterr().out and os.path.exists(os.path.join(path, "report.html"))
