"""Quotas that nobody looked at while the limiter's constants were chosen: `python -m benchmarks.ratelimit.held_out`.

The table is that of `quotas`, with other quotas. Change a constant of the limiter because of it, and it is no longer
held out: then draw other numbers.
"""

from __future__ import annotations

from benchmarks.ratelimit.quotas import Row, print_table

QUOTAS = [(13, 16.79), (39, 1.88), (81, 0.18), (482, 6.29), (1133, 0.3), (452, 1.88), (935, 19.46), (54, 5.19)]
KINDS = ["fixed", "sliding", "token"]
SEEDS = (101, 102, 103)


def main() -> None:
    print_table([Row(limit, window, kind, seeds=SEEDS) for limit, window in QUOTAS for kind in KINDS])


if __name__ == "__main__":
    main()
