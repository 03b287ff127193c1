"""Quotas that nobody looked at while the limiter's constants were chosen: `python -m benchmarks.ratelimit.held_out`.

The table is that of `quotas`, with other quotas. Change a constant of the limiter because of it, and it is no longer
held out: then draw other numbers.
"""

from __future__ import annotations

from benchmarks.ratelimit.quotas import Row, print_table

QUOTAS = [(90, 0.6), (280, 4.0), (55, 15.0), (18, 2.0), (1200, 0.5), (33, 7.0), (160, 0.25), (500, 25.0)]
KINDS = ["fixed", "sliding", "token"]
SEEDS = (101, 102, 103)


def main() -> None:
    print_table([Row(limit, window, kind, seeds=SEEDS) for limit, window in QUOTAS for kind in KINDS])


if __name__ == "__main__":
    main()
