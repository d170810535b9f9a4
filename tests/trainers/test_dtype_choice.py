"""`dtype_policy=auto`: by the devices, the least of all of them; said, stored, and kept by a run that is resumed."""

import json
from types import SimpleNamespace

import pytest
import tensorflow as tf

from keras_mae.models.saved_files import load_model_file
from keras_mae.trainers import dtype_choice, finetune, linear_probe, machine, recipes, run, segment
from keras_mae.trainers.auto_choice import choose
from keras_mae.trainers.auto_facts import COMPILED, Facts, memory_of_run
from keras_mae.trainers.classifier_config import FinetuneConfig, ProbeConfig
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.dtype_choice import Dtype, choose_dtype, of_gpus, with_dtype
from keras_mae.trainers.machine import processor_flags
from keras_mae.trainers.memory import estimate
from keras_mae.trainers.pretrain import build, pretrain
from keras_mae.trainers.segment_config import SegmentConfig
from keras_mae.trainers.settings import changed, replaced
from tests.trainers.pretraining import CONFIG

BFLOAT16, FLOAT16, FLOAT32 = "mixed_bfloat16", "mixed_float16", "float32"
AUTO = replaced(CONFIG, dtype_policy="auto")
TOY = {"preset": "vit_tiny_patch16", "image_size": (8, 8), "patch_size": (4, 4), "hidden_dim": 8}
TOY |= {"num_layers": 1, "num_heads": 2}


@pytest.mark.parametrize(
    ("capabilities", "policy", "why"),
    [
        ([(9, 0)], BFLOAT16, "as this GPU computes in it"),
        ([(8, 0)] * 4, BFLOAT16, "as all 4 GPUs do"),
        ([(12, 0)], BFLOAT16, "as this GPU computes in it"),  # not by its first digit as text
        ([(7, 5)], FLOAT16, "as this GPU (compute capability 7.5) computes in float16 and not in bfloat16"),
        ([(7, 0)], FLOAT16, "as this GPU (compute capability 7.0) computes in float16 and not in bfloat16"),
        ([(9, 0), (7, 5)], FLOAT16, "as one of 2 GPUs (compute capability 7.5) computes in float16 and not in"),
        ([(9, 0), (6, 1)], FLOAT32, "as one of 2 GPUs (compute capability 6.1) is no faster in 16 bits"),
        ([(0, 0)], FLOAT32, "as this GPU does not tell its compute capability"),
    ],
)
def test_gpus(capabilities, policy, why):
    chosen = of_gpus(capabilities)
    assert chosen.policy == policy and chosen.why.startswith(why)


@pytest.mark.parametrize(
    ("flags", "jit_compile", "policy", "why"),
    [
        ({"avx512_bf16"}, None, BFLOAT16, "as this processor computes in it"),
        ({"amx_bf16", "avx2"}, False, BFLOAT16, "as this processor computes in it"),
        ({"avx512_bf16"}, True, FLOAT32, "as XLA is no faster in bfloat16 on a processor"),
        ({"avx2", "avx512f"}, None, FLOAT32, "as this processor has no instructions for bfloat16"),
        (set(), True, FLOAT32, "as this processor has no instructions for bfloat16"),
    ],
)
def test_processors(monkeypatch, flags, jit_compile, policy, why):
    monkeypatch.setattr(machine, "processor_flags", lambda: frozenset(flags))
    assert choose_dtype(jit_compile=jit_compile) == (policy, why)


def test_flags_are_those_that_linux_tells(monkeypatch, tmp_path):
    found = processor_flags()
    assert isinstance(found, frozenset) and all(" " not in flag for flag in found)
    told = tmp_path / "cpuinfo"
    told.write_text("processor\t: 0\nflags\t\t: fpu sse amx_bf16\nbugs\t\t: none\n")
    monkeypatch.setattr("builtins.open", lambda path, **how: told.open(**how))
    assert processor_flags() == {"fpu", "sse", "amx_bf16"}
    told.unlink()  # another system
    assert processor_flags() == frozenset()


@pytest.mark.parametrize(
    ("replicas", "capabilities", "policy"),
    [(1, [(8, 6), (6, 1)], BFLOAT16), (2, [(8, 6), (7, 0)], FLOAT16), (2, [(8, 6), None], FLOAT32)],
)
def test_the_gpus_that_the_strategy_uses(monkeypatch, replicas, capabilities, policy):
    details = [{"device_name": "a"} if one is None else {"compute_capability": one} for one in capabilities]
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: range(len(details)) if kind == "GPU" else [])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: details[device])
    assert choose_dtype(SimpleNamespace(num_replicas_in_sync=replicas)).policy == policy


def test_a_tpu_is_what_is_neither_gpu_nor_processor(monkeypatch):
    monkeypatch.setattr(dtype_choice, "has_accelerator", lambda: True)
    assert choose_dtype() == Dtype(BFLOAT16, "as TPUs compute in it")


@pytest.mark.parametrize(
    ("mine", "others", "policy"),
    [
        (BFLOAT16, BFLOAT16, BFLOAT16), (BFLOAT16, FLOAT16, FLOAT16), (FLOAT16, BFLOAT16, FLOAT16),
        (BFLOAT16, FLOAT32, FLOAT32), (FLOAT32, BFLOAT16, FLOAT32), (FLOAT16, FLOAT32, FLOAT32),
    ],
)  # fmt: skip
def test_workers_agree_on_the_least_of_their_devices(monkeypatch, mine, others, policy):
    """Each worker tells what its devices lack; the fake answers as if the other one had told the same way."""
    order = [FLOAT32, FLOAT16, BFLOAT16]
    told = []

    def any_worker(strategy, flags):
        told.append(list(flags))
        return [mine or other for mine, other in zip(flags, lacks[others], strict=True)]

    lacks = {BFLOAT16: [False, False], FLOAT16: [True, False], FLOAT32: [True, True]}
    monkeypatch.setattr(dtype_choice, "any_worker", any_worker)
    monkeypatch.setattr(dtype_choice, "_of_devices", lambda *_: Dtype(mine, "as mine"))
    found = choose_dtype()
    assert told == [lacks[mine]] and found.policy == policy
    lower = order.index(others) < order.index(mine)
    assert found.why == ("as the devices of another worker compute in no other" if lower else "as mine")


def test_auto_is_said_in_a_line_and_another_policy_is_taken_as_it_is(monkeypatch, caplog):
    caplog.set_level("INFO", logger="keras_mae")
    monkeypatch.setattr(dtype_choice, "choose_dtype", lambda *_: Dtype(FLOAT16, "as told"))
    assert with_dtype(replaced(AUTO, dtype_policy=BFLOAT16)).run.dtype_policy == BFLOAT16 and not caplog.records
    assert with_dtype(AUTO) == replaced(AUTO, dtype_policy=FLOAT16)
    assert [record.message for record in caplog.records] == ["dtype_policy=auto: mixed_float16, as told"]


@pytest.mark.parametrize("name", recipes.names())
def test_recipes_leave_it_open_but_those_whose_numbers_are_of_float32(name):
    assert recipes.load(name).run.dtype_policy == (FLOAT32 if name.endswith("_digits") else "auto")


def test_programs_build_models_in_it(monkeypatch):
    """Called on their own, too; each part of a model in the same policy."""
    monkeypatch.setattr(dtype_choice, "choose_dtype", lambda *_: Dtype(BFLOAT16, "as told"))
    mae = build(AUTO)
    heads = [
        finetune.build(changed(FinetuneConfig(), settings_of(TOY)), 3),
        linear_probe.build(changed(ProbeConfig(), settings_of(TOY)), 3),
        segment.build(changed(SegmentConfig(), settings_of({**TOY, "design": "mask_transformer"})), 3),
    ]
    for model in (mae, mae.decoder, *heads, *(one.encoder for one in (mae, *heads)), heads[2].masks):
        assert model.dtype_policy.name == BFLOAT16


def settings_of(values):
    return [f"{name}={str(value).replace(' ', '')}" for name, value in values.items()]


def test_memory_of_auto_is_that_of_float32():
    """Whatever it becomes, it fits."""
    config = PretrainConfig()
    assert estimate(config) == estimate(replaced(config, dtype_policy=FLOAT32))
    assert estimate(config) > 1.2 * estimate(replaced(config, dtype_policy=BFLOAT16))


@pytest.mark.parametrize("given", [{}, {"dtype_policy": "auto"}, {"run.dtype_policy": "auto"}])
@pytest.mark.parametrize("policy", [BFLOAT16, FLOAT16, FLOAT32])
def test_the_recipe_that_chooses_takes_it_too(policy, given):
    facts = Facts(5000, 300, 300, accelerator=True, dtype_policy=policy, dtype_why="as told")
    config, reasons = choose(facts, given)
    assert config.run.dtype_policy == policy and (f"dtype_policy={policy}", "as told") in reasons
    typed, why = choose(facts, {"dtype_policy": FLOAT32})
    assert typed.run.dtype_policy == FLOAT32 and ("dtype_policy=float32", "set by you") in why
    assert (memory_of_run(config, facts) < memory_of_run(typed, facts)) == (policy != FLOAT32)


@pytest.mark.parametrize(("width", "policy", "why"), [(128, FLOAT32, COMPILED), (768, BFLOAT16, "as told")])
def test_the_recipe_that_chooses_asks_whether_a_processor_compiles(width, policy, why):
    facts = Facts(5000, 300, 300, dtype_policy=BFLOAT16, dtype_why="as told")
    config, reasons = choose(facts, {"encoder.hidden_dim": width})
    assert (config.run.dtype_policy, config.run.jit_compile) == (policy, True if policy == FLOAT32 else None)
    assert (f"dtype_policy={policy}", why) in reasons


@pytest.mark.medium
def test_a_run_stores_it_and_keeps_it_when_it_is_resumed_on_another_device(arrays, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="keras_mae")
    output = run.RunFolder(str(tmp_path / "run"))
    monkeypatch.setattr(dtype_choice, "_of_devices", lambda *_: Dtype(BFLOAT16, "as this GPU computes in it"))
    trained = pretrain(AUTO, arrays, output.path)
    assert "dtype_policy=auto: mixed_bfloat16, as this GPU computes in it" in caplog.messages
    stored = json.loads((tmp_path / "run" / "config.json").read_text())["config"]["run"]
    assert stored["dtype_policy"] == BFLOAT16
    saved = load_model_file(output / run.MODEL)
    for model in (trained, saved):
        parts = (model, model.encoder, model.decoder, model.encoder.blocks[0], model.decoder.blocks[0])
        assert {part.dtype_policy.name for part in parts} == {BFLOAT16}
    caplog.clear()
    monkeypatch.setattr(dtype_choice, "_of_devices", lambda *_: Dtype(FLOAT32, "as none"))
    resumed = pretrain(AUTO, arrays, output.path, resume=True)
    assert resumed.dtype_policy.name == BFLOAT16
    assert "dtype_policy=auto: mixed_bfloat16, as the run began" in caplog.messages
    with pytest.raises(ValueError, match="run.dtype_policy: 'mixed_bfloat16' there, 'float32' now"):
        pretrain(replaced(AUTO, dtype_policy=FLOAT32), arrays, output.path, resume=True)
