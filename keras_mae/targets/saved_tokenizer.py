"""SavedModels as tokenizers: opened only if their graphs compute, and do nothing else."""

from __future__ import annotations

import re

import keras
import tensorflow as tf
from google.protobuf import message
from tensorflow.core.protobuf import saved_model_pb2

# Operations that touch files, the network or Python
_REACHES_OUT = re.compile(
    r"ReadFile|WriteFile|MatchingFiles|PyFunc|Reader|FileWriter|DbWriter|Summary|TextFile|LookupTableExport"
    r"|(TextLine|TFRecord|FixedLengthRecord|Sql|LMDB|Cache|Snapshot|Save|Load|DataService|Generator)\w*Dataset"
    r"|^(Save|SaveV2|SaveSlices|Restore|RestoreV2|RestoreSlice|MergeV2Checkpoints|LoadAndRemapMatrix|PrintV2|Print"
    r"|RemoteCall|Rpc\w*|CreateSummary\w*|DebugIdentity\w*|DebugNumericSummary\w*)$"
)
_SAVER = re.compile(r"__inference__traced_(save|restore)_\d+$")


def open_tokenizer(path: str) -> keras.layers.Layer:
    """A SavedModel as a layer.

    Args:
        path: its folder.

    Raises:
        ValueError: if it cannot be loaded, or its graph has operations that read or write files, reach the network
            or call Python.
    """
    try:
        with tf.io.gfile.GFile(tf.io.gfile.join(path, "saved_model.pb"), "rb") as file:
            saved = saved_model_pb2.SavedModel.FromString(file.read())
    except (tf.errors.OpError, message.DecodeError) as error:
        raise ValueError(
            f"the tokenizer {path} is not the folder of a SavedModel: it holds no saved_model.pb that can be read"
        ) from error
    found = sorted(_operations(saved))
    if found:
        raise ValueError(
            f"the tokenizer {path} reaches beyond its own numbers ({', '.join(found[:4])}): a SavedModel that reads or "
            "writes files, prints or calls Python is refused"
        )
    try:
        return keras.layers.TFSMLayer(path, call_endpoint="serving_default")  # Keras' default is that of its exports
    except Exception as error:  # whatever TensorFlow and Keras make of a damaged one, or of another endpoint
        text = " ".join(str(error).split())[:160]
        raise ValueError(
            f"the tokenizer {path} cannot be loaded as a layer with the signature 'serving_default' "
            f"({type(error).__name__}: {text})"
        ) from error


def _operations(saved: saved_model_pb2.SavedModel) -> set[str]:
    """The operations that reach out, those left aside by which TensorFlow restores the variables."""
    found: set[str] = set()
    for graph in (each.graph_def for each in saved.meta_graphs):
        functions = {function.signature.name: function for function in graph.library.function}
        called = {name for function in functions.values() for name in _called(function)}
        for name, function in functions.items():
            if _SAVER.search(name) and name not in called:
                continue
            found |= {node.op for node in function.node_def if _REACHES_OUT.search(node.op)}
    return found


def _called(function) -> set[str]:
    """The names of the functions that a function calls."""
    attributes = [attribute for node in function.node_def for attribute in node.attr.values()]
    listed = [one for attribute in attributes for one in attribute.list.func]
    return {one.name for one in [*(attribute.func for attribute in attributes), *listed] if one.name}
