"""Runs the benchmarks, prints one JSON object a line, and compares ratios with the stored ones of this machine.

    python -m benchmarks --only=flops,mae_step_vit_tiny_float32
    python -m benchmarks --only=long      # also what takes many minutes: ViT-B
    python -m benchmarks --update         # stores what this run measures

Times change with the machine and its load, and ratios of sides that take turns less: these are what the baseline
holds, for each kind of machine (its cores and instructions). The exit code is 1 if a ratio fell below 0.8 of the stored
one. `others_share` is the share of the cores that other programs had meanwhile; what was measured beside much else is
not stored.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks import baseline
from benchmarks.own_process import in_own_process
from benchmarks.parts import line_of, parts


def main() -> int:
    """Reads the flags and runs what they name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="names separated by commas; the word long stands for all the long ones")
    parser.add_argument("--update", action="store_true", help="store the ratios of this run as the baseline")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    arguments = parser.parse_args()
    short, long = parts()
    known = {**short, **long}
    if arguments.list:
        print("\n".join([*short, *(f"{name}  (long)" for name in long)]))
        return 0
    asked = [*short] if arguments.only is None else arguments.only.split(",")
    names = [name for word in asked for name in (long if word == "long" else [word])]
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are: long, {', '.join(known)}")
    fell = []
    for name in names:
        line = in_own_process(line_of, name)
        print(line, flush=True)
        fell += baseline.compare(line)
        if arguments.update:
            print(baseline.store(line) or f"{name}: stored", file=sys.stderr)
    print("\n".join(fell), file=sys.stderr)
    return int(bool(fell))


if __name__ == "__main__":  # worker processes import this module, too
    sys.exit(main())
