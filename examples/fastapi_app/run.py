"""The service and a sandbox in one command: ``python examples/fastapi_app/run.py``. No account needed."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from pathlib import Path

import uvicorn

from aelyst_async.sandbox import Sandbox


async def main(port: int) -> None:
    """Serve until interrupted."""
    async with Sandbox() as sandbox:
        os.environ["AELYST_TOKEN"] = sandbox.token("aelyst")
        os.environ["AELYST_BASE_URL"] = sandbox.base_url("aelyst")
        os.environ.setdefault("JOBS_JOURNAL", str(Path(tempfile.gettempdir()) / "aelyst-example-jobs.db"))
        sys.path.insert(0, str(Path(__file__).parent))
        print(f"sandbox   {sandbox.url}   (what the vendor sees)")
        print(f"service   http://127.0.0.1:{port}   (its status page)")
        print(
            f"try       curl -s http://127.0.0.1:{port}/webhooks/contact -H 'Content-Type: application/json' "
            '-d \'{"email": "ann@example.com", "first_name": "Ann"}\''
        )
        config = uvicorn.Config("app:app", port=port, log_level="warning", timeout_graceful_shutdown=5)
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(parser.parse_args().port))
