"""`python -m benchmarks` runs the short comparisons and prints their ratios, one JSON object a line."""

from benchmarks import digits_input, digits_step

for module in (digits_step, digits_input):
    print(module.result(), flush=True)
