"""`keras-mae recipes`: a line for each, or one of them in full."""

from __future__ import annotations

from absl import flags

from keras_mae.commands.command import Command


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("show", None, "a recipe to show: its evidence, and every setting", flag_values=values)
    return values


def _recipes(values: flags.FlagValues) -> None:
    from keras_mae.trainers import recipes
    from keras_mae.trainers.settings import explained

    if values.show is None:
        width = max(map(len, recipes.names()))
        for program, names in recipes.by_program().items():
            print(f"for keras-mae {program}:")
            for name in names:
                print(f"  {name:{width}}  {recipes.title(name)}")
        return
    config = recipes.load(values.show)
    print(f"{recipes.evidence(values.show)}\n\nfor keras-mae {config.program}; every setting, for --set:")
    for line in explained(config):
        print(line)
    peak = config.optimizer.peak_learning_rate
    print(f"\nthe peak learning rate, base_learning_rate x batch_size / 256, is {peak:.4g}")


RECIPES = Command("list the recipes, or show one of them", _flags, _recipes)
