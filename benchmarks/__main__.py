"""`python -m benchmarks [--quick] [--label NAME] [PART …]`: measure, print, store, and draw.

Each part runs in a process of its own and leaves its figures in ``benchmarks/results/NAME/PART.json``, with a
description of the machine. ``--quick`` takes a minute or two for all parts, with fewer rounds and levels. ``plots``
draws docs/performance-*.svg from what is stored. All parts, then the plots, if none is named.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time

from benchmarks.rounds import RESULTS, run

PARTS = ("client", "profile", "codec", "limiter", "growth", "sync", "memory", "jobs", "imports", "sandbox", "redis")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; plots")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and levels")
    parser.add_argument("--label", default="latest", help="folder of results/ for the figures (default: latest)")
    given = parser.parse_args()
    unknown = set(given.parts) - {*PARTS, "plots"}
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)} and plots")
    failed = []
    for part in given.parts or (*PARTS, "plots"):
        if part == "plots":
            from benchmarks.plots import draw

            draw(given.label)
            continue
        print(f"\n== {part}", flush=True)
        began = time.perf_counter()
        process = multiprocessing.get_context("spawn").Process(target=run, args=(part, given.label, given.quick))
        process.start()
        process.join()
        if process.exitcode:
            failed.append(part)
        print(f"({time.perf_counter() - began:.0f} s)", flush=True)
    print(f"\nfigures are in {RESULTS / given.label}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
