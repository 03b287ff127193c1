"""Runs the measurements named (all by default) and prints each beside its bar.

    python -m benchmarks.sync
    python -m benchmarks.sync unchanged memory

Each measurement runs in a process of its own, so that one's memory is not another's. The rates depend on the machine;
what they are compared with is measured in the same run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from benchmarks.sync.measurements import MEASUREMENTS


def main() -> int:
    names = sys.argv[1:] or list(MEASUREMENTS)
    failed = False
    for name in names:
        if name not in MEASUREMENTS:
            print(f"no measurement {name!r}; there are {', '.join(MEASUREMENTS)}", file=sys.stderr)
            return 2
        began = time.perf_counter()
        run = subprocess.run(
            [sys.executable, "-m", "benchmarks.sync.measurements", name], capture_output=True, text=True, check=False
        )
        if run.returncode:
            print(f"{name}: failed\n{run.stderr}", file=sys.stderr)
            failed = True
            continue
        for line in json.loads(run.stdout.splitlines()[-1]):
            mark = "" if line["met"] is None else "  met" if line["met"] else "  NOT MET"
            failed |= line["met"] is False
            print(f"{name:<10} {line['what']:<66} {line['value']:>14}   bar {line['bar']:<12}{mark}", flush=True)
        print(f"{'':<10} ({time.perf_counter() - began:.0f} s)", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
