"""Every trainable variable is in one group, and a pattern that matches nothing is an error."""

import pytest

from keras_mae.models import ImageClassifier
from keras_mae.optimizers.parameter_groups import depth_groups, select, split
from tests.base import small_encoder, small_mae


def paths(group):
    return [variable.path for variable in group]


@pytest.mark.parametrize(
    "make",
    [small_encoder, small_mae, lambda: ImageClassifier(small_encoder(num_layers=2), 3, num_trainable_layers=0.5)],
)
def test_models_declare_a_partition(make):
    model = make()
    assert depth_groups(model) == model.layer_groups()
    assert sum(map(len, model.layer_groups())) == len(model.trainable_variables)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda groups: [*groups[:1], groups[1][1:], *groups[2:]], "in no group: vit_encoder/block_0/norm1/gamma$"),
        (lambda groups: [*groups, groups[0][:1]], "in more than one: vit_encoder/patch_projection/kernel$"),
        (
            lambda groups: groups[1:],
            "in no group: vit_encoder/cls_token, vit_encoder/patch_projection/kernel",
        ),
    ],
)
def test_groups_that_are_no_partition(change, message):
    encoder = small_encoder()
    groups = change(encoder.layer_groups())
    encoder.layer_groups = lambda: groups
    with pytest.raises(ValueError, match=f"ViTEncoder.layer_groups.. must hold .* exactly once; {message}"):
        depth_groups(encoder)


def test_a_group_with_what_is_not_trained():
    encoder = small_encoder()
    groups = encoder.layer_groups()
    encoder.norm.trainable = False
    encoder.layer_groups = lambda: groups
    with pytest.raises(ValueError, match="; not trained: vit_encoder/norm/gamma, vit_encoder/norm/beta$"):
        depth_groups(encoder)


def test_select():
    variables = small_encoder(num_layers=2).trainable_variables
    biases, first = select(variables, ["*/bias", "vit_encoder/block_0/*"])
    assert paths(biases) == [path for path in paths(variables) if path.endswith("/bias")] != []
    assert paths(first) == [path for path in paths(variables) if "/block_0/" in path] != []
    assert select(variables, []) == []
    with pytest.raises(
        ValueError, match=r"matches 'block_0/\*', '\*/Bias'; a pattern is .* the paths are vit_encoder/"
    ):
        select(variables, ["block_0/*", "*/bias", "*/Bias"])


def test_split():
    variables = small_encoder(num_layers=2).trainable_variables
    blocks, rest = split(variables, ["*/block_*", "vit_encoder/[!b]*"])
    assert sorted(paths(blocks) + paths(rest)) == sorted(paths(variables))
    with pytest.raises(ValueError, match=r"by '\*/block_\*' must hold .* in no group: vit_encoder/cls_token, vit_enc"):
        split(variables, ["*/block_*"])
    with pytest.raises(ValueError, match=r"in more than one: vit_encoder/norm/gamma, vit_encoder/norm/beta$"):
        split(variables, ["*/norm/*", "*"])
