"""The recipe that a config differs least from, and what differs."""

import pytest

from keras_mae.trainers import recipes
from keras_mae.trainers.config import CONFIGS
from keras_mae.trainers.nearest_recipe import nearest_recipe
from keras_mae.trainers.settings import changed, replaced


@pytest.mark.parametrize("name", ["mae_digits", "simmim_vit_base", "finetune_digits", "probe_vit_base"])
def test_a_recipe_is_nearest_to_itself(name):
    config = recipes.load(name)
    nearest, differing = nearest_recipe(config)
    assert recipes.load(nearest) == config and differing == []  # two recipes may be the same but for their evidence


def test_what_differs_is_told_as_it_is_typed():
    settings = ["masking=units", "unit=2", "mean=(0.5,)", "encoder.hidden_dim=64"]
    config = changed(recipes.load("mae_digits"), settings)
    nearest, differing = nearest_recipe(config)
    assert nearest == "mae_digits" and changed(recipes.load(nearest), [one.typed for one in differing]) == config
    assert {one.name: (one.value, one.other) for one in differing} == {
        "masking": ("units", "random"), "unit": (2, None), "mean": ((0.5,), (0.1307,)), "encoder.hidden_dim": (64, 128)
    }  # fmt: skip


def test_first_weights_are_no_difference_and_a_program_without_recipes_has_its_defaults():
    config = replaced(CONFIGS["knn"](), run="runs/x", k=(3,))
    nearest, differing = nearest_recipe(config)
    assert nearest is None and [one.typed for one in differing] == ["k=(3,)"]
