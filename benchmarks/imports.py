"""`python -m benchmarks.imports`: what importing costs, beside `import aiohttp`, each in interpreters of their own."""

import statistics
import subprocess
import sys
import time

RUNS = 15
BAR = 0.5
"""The first import and the help text cost at most half of `import aiohttp`."""

CASES = {
    "nothing": "pass",
    "import aiohttp": "import aiohttp",
    "import aelyst_async": "import aelyst_async",
    "import aelyst_async.cli": "import aelyst_async.cli",
    "aelyst --help": (
        "import contextlib, io, aelyst_async.cli as cli\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): cli.main(['--help'])"
    ),
    "AelystGateway('t')": "from aelyst_providers.aelyst import AelystGateway; AelystGateway('t')",
}


def main() -> int:
    """Print milliseconds and the ratio to `import aiohttp`, both without the bare interpreter; 1 if a bar is missed."""
    taken: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(RUNS):  # in turns, so that a busy moment of the machine hits all of them
        for name, code in CASES.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            taken[name].append((time.perf_counter() - began) * 1000)
    median = {name: statistics.median(times) for name, times in taken.items()}
    bare = median["nothing"]
    aiohttp = median["import aiohttp"] - bare
    print(f"the bare interpreter takes {bare:.0f} ms; beyond that (median of {RUNS}):")
    missed = False
    for name, milliseconds in median.items():
        if name == "nothing":
            continue
        ratio = (milliseconds - bare) / aiohttp
        bar = BAR if name in {"import aelyst_async", "import aelyst_async.cli", "aelyst --help"} else None
        missed |= bar is not None and ratio > bar
        print(
            f"{name:<26}{milliseconds - bare:8.0f} ms {ratio:8.2f} x aiohttp{'' if bar is None else f'   (bar {bar})'}"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
