"""The pictures of a report in the docs."""

import os

import pytest
from PIL import Image

from benchmarks import report_pictures
from tests.chromium import needs_chromium
from tests.run_report.folders import epoch, write_run


@needs_chromium
@pytest.mark.medium
def test_they_are_of_a_desktop_and_a_phone_and_small(tmp_path):
    run = write_run(tmp_path / "run", [epoch(1), epoch(2)])
    before = sorted(os.listdir(run))
    written = report_pictures.draw(run, str(tmp_path))
    assert [os.path.basename(path) for path in written] == ["report.png", "report_phone.png"]
    assert [Image.open(path).size for path in written] == [(1280, 1180), (390, 1180)]
    assert all(os.path.getsize(path) < 150_000 for path in written) and sorted(os.listdir(run)) == before
