"""The choice of a model's trained variables in layers that it may share with others."""

from __future__ import annotations

from collections.abc import Iterable

import keras

from keras_mae.training.image_model import ImageModel


class SelectiveModel(ImageModel):
    """A `keras.Model` that need not train all its variables; other models of its layers may train them.

    `layer.trainable`, which a user sets, holds for all models. Subclasses implement `fixed_variables`.
    """

    def fixed_variables(self) -> list[keras.Variable]:
        """Variables that this model does not train, frozen or not."""
        return []

    def trained_of(self, variables: Iterable[keras.Variable]) -> list[keras.Variable]:
        """Those of the variables that this model trains, in the same order."""
        trained = {id(variable) for variable in self.trainable_variables}
        return [variable for variable in variables if id(variable) in trained]

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        fixed = {id(variable) for variable in self.fixed_variables()}
        return [variable for variable in super().trainable_variables if id(variable) not in fixed]

    @property
    def non_trainable_variables(self) -> list[keras.Variable]:
        trained = {id(variable) for variable in self.trainable_variables}
        return [variable for variable in self.variables if id(variable) not in trained]

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        return self.trained_of(self.weights)

    @property
    def non_trainable_weights(self) -> list[keras.Variable]:
        trained = {id(variable) for variable in self.trainable_variables}
        return [variable for variable in self.weights if id(variable) not in trained]

    def make_train_function(self, force: bool = False):
        """As Keras'.

        Raises:
            ValueError: if the trainable variables have changed since the step was made, as it would ignore that.
        """
        trained = frozenset(id(variable) for variable in self.trainable_variables)
        if self.train_function is None or force:
            self._trained = trained
        elif self._trained != trained:
            raise ValueError(
                f"what {self.name} trains has changed since it was compiled, {len(self._trained)} variables then and "
                f"{len(trained)} now: call compile again, with a new optimizer, before you go on"
            )
        return super().make_train_function(force)
