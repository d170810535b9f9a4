"""`keras-mae report`."""

from __future__ import annotations

import os

from absl import flags

from keras_mae.commands.command import Command


def _report_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_multi_string(
        "run",
        None,
        "the folder of a run of any program, which may be running or interrupted; given again, runs beside each other",
        flag_values=values,
    )
    flags.DEFINE_string(
        "output",
        None,
        "the HTML file to write, NAME.html, and NAME_loss.png beside it; report.html and loss.png in the run folder if "
        "not given; files that are there are replaced",
        flag_values=values,
    )
    return values


def _check(values: flags.FlagValues) -> None:
    """Refuses what cannot be read or written."""
    paths, output = values.run, values.output
    for place, path in enumerate(paths):
        if not path:
            raise ValueError("--run is empty; give it the folder of a run")
        if os.path.realpath(path) in map(os.path.realpath, paths[:place]):
            raise ValueError(f"--run={path} is given twice: name each run once")
    if output is None:
        if len(paths) > 1:
            raise ValueError("a page of several runs needs --output, the HTML file to write, such as runs.html")
        return
    if os.path.isdir(output):
        raise ValueError(f"--output={output} is a folder; type --output={os.path.join(output, 'report.html')}")
    if not output.lower().endswith((".html", ".htm")):
        raise ValueError(f"--output={output} is no page; type --output={os.path.splitext(output)[0]}.html")


def _report(values: flags.FlagValues) -> None:
    from keras_mae.run_report import write_report

    page, *curve = write_report(values.run, values.output)
    print(f"wrote {_shown(page)}, {os.path.getsize(page) / 1e6:.1f} MB; a browser opens it")
    for path in curve:
        print(f"wrote {_shown(path)}")


def _shown(path: str) -> str:
    """A path that can be printed: its bytes need not be UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


REPORT = Command(
    "write an HTML page about a run, or several: curves, pictures, settings, machine, commands to go on with",
    _report_flags,
    _report,
    ("run",),
    _check,
    needs_tensorflow=False,
)
