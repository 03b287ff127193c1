"""`python -m benchmarks`: run every benchmark, each in a process of its own, and print what it measures."""

import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run them in the order of their names; return 1 if one of them failed."""
    here = Path(__file__).parent
    names = sorted(
        {path.stem for path in here.glob("[a-z]*.py")} | {path.parent.name for path in here.glob("*/__main__.py")}
    )
    failed = []
    for name in names:
        print(f"\n== benchmarks.{name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
