"""Our train step on an accelerator, with no TensorFlow there: exported as HLO here, compiled and run by JAX there.

    python -m benchmarks.accelerator.export --output=runs/steps          # where TensorFlow is
    python -m benchmarks.accelerator.run --steps=runs/steps --output=runs/accelerator  # where JAX and PyTorch are

TensorFlow and JAX share the compiler, XLA, and HLO is its language. The inputs of a step are made from a seed on both
sides, so that the HLO and a description of its inputs are all that travels.
"""
