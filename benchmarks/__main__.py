"""`python -m benchmarks` runs the short comparisons and prints their ratios, one JSON object a line."""

if __name__ == "__main__":  # worker processes import this module, too
    from benchmarks import digits_input, digits_step, photo_input

    for module in (digits_step, digits_input, photo_input):
        print(module.result(), flush=True)
