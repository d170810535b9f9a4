"""The ways through the package are walked, and counted."""

import pytest

from benchmarks import traces


def test_what_is_counted():
    from keras_mae.masking import RandomMasking
    from keras_mae.registry import Registry

    registry = Registry("sampler")
    trace = traces.traced(lambda: (registry.register("random")(RandomMasking), "random" in registry, "x" in registry))
    assert trace.files == {"keras_mae/registry.py"}
    assert sorted(name.partition(":")[2] for _, name in trace.functions) == ["__contains__", "enter", "register"]
    assert trace.counts == (1, 3, 1)  # one after the other
    assert traces.traced(lambda: registry.register("x")(RandomMasking), until="register").counts == (1, 1, 1)


SHORT = ("from --set to its effect",)


@pytest.mark.parametrize(
    "ways", [pytest.param(SHORT, marks=pytest.mark.medium), pytest.param(tuple(traces.BEFORE), marks=pytest.mark.slow)]
)
def test_no_way_is_deeper_than_before(ways, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {way: traces.BEFORE[way] for way in ways}
    counts = {way: traces.WAYS[way]().counts for way in ways}
    lines = traces.table(counts, before).splitlines()
    assert [line[:28].strip() for line in lines] == ["", *ways, "sum"]
    assert all(counts[way][2] <= deepest for way, (_, _, deepest) in before.items()), counts
    assert not list(tmp_path.iterdir())  # nothing is trained
