"""Quotas that nobody looked at while the limiter's constants were chosen: `python -m benchmarks.ratelimit.held_out`.

The table is printed as it comes. Change a constant of the limiter because of it, and it is no longer held out: then
draw other numbers.
"""

from __future__ import annotations

from tests.ratelimit.simulator import Latency, Server, simulate

QUOTAS = [(90, 0.6), (280, 4.0), (55, 15.0), (18, 2.0), (1200, 0.5), (33, 7.0), (160, 0.25), (500, 25.0)]
KINDS = ["fixed", "sliding", "token"]
SEEDS = (101, 102, 103)


def main() -> None:
    print(
        "| quota | kind | use after two windows: worst, median | over ten windows: worst | refused per run | bars met |"
    )
    print("|---|---|---|---|---|---|")
    met = rows = 0
    for limit, window in QUOTAS:
        for kind in KINDS:
            late, whole, refused, sent = [], [], [], 0
            for seed in SEEDS:
                phase = (0.11 + 0.29 * (seed - 100)) % 1 * window if kind == "fixed" else 0.0
                latency = Latency() if window >= 0.3 else Latency(up=0.001, least=0.001, down=0.003)
                server = Server(kind=kind, limit=limit, window=window, phase=phase)
                result = simulate(server, seed=seed, latency=latency, windows=14)
                late.append(result.late)
                whole.append(result.whole)
                refused.append(result.refused)
                sent += result.sent
            good = min(late) >= 0.98 and min(whole) >= 0.95 and sum(refused) <= 0.001 * sent
            met, rows = met + good, rows + 1
            print(
                f"| {limit} per {window:g} s | {kind} | {min(late):.3f}, {sorted(late)[1]:.3f} | {min(whole):.3f} "
                f"| {', '.join(map(str, refused))} of {sent // len(SEEDS)} | {'yes' if good else 'no'} |"
            )
    print(f"\n{met} of {rows} rows meet all three bars (0.98, 0.95, 0.1 %).")


if __name__ == "__main__":
    main()
