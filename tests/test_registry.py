"""The table of names."""

import pytest

from keras_mae.registry import Registry, did_you_mean


def made():
    registry = Registry("sampler")

    @registry.register("random")
    class Random:
        pass

    registry.register("units")(Random)
    return registry, Random


def test_entries_keep_their_order_and_are_what_was_registered():
    registry, entry = made()
    assert list(registry) == ["random", "units"] and len(registry) == 2
    assert registry["random"] is entry and registry.name_of(entry) == "random"
    assert "random" in registry and "rand" not in registry and 3 not in registry


def test_an_unknown_name_shows_the_near_ones():
    registry, _ = made()
    with pytest.raises(
        ValueError, match=r"no sampler is called 'rndom'; did you mean random\? There are: random, units"
    ):
        registry["rndom"]
    with pytest.raises(ValueError, match="no sampler is called 'zzz'; there are: random, units"):
        registry["zzz"]
    with pytest.raises(ValueError, match="this sampler is not registered"):
        registry.name_of(int)
    assert did_you_mean(None, ["a"]) == "; there are:"


def test_a_name_is_given_once_but_for_a_module_that_is_loaded_again():
    registry, entry = made()
    with pytest.raises(ValueError, match="a sampler called 'random' is registered already"):
        registry.register("random")(int)
    again = type("Random", (), {"__module__": entry.__module__, "__qualname__": entry.__qualname__})
    assert registry.register("random")(again) is again and registry["random"] is again
