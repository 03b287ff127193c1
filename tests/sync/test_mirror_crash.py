"""A killed mirror resumes: it deletes exactly the missing contacts."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from aelyst_async.sandbox import Sandbox
from aelyst_async.sync import ContactSync, RetrySettings, read_contacts
from aelyst_providers.aelyst import AelystGateway
from tests.sync.mirror_child import POINTS

pytestmark = pytest.mark.hostile

CHILD = ("-m", "tests.sync.mirror_child")
COUNT, KEPT = 16, 6
REQUESTS = {"before a delete leaves", "after a delete was answered"}
CASES: list[Any] = [
    pytest.param(point, number, marks=() if (point, number) == ("after a delete was answered", 3) else pytest.mark.slow)
    for point in POINTS
    for number in ((1, 3, 10) if point in REQUESTS else (1, 3))  # one commit may be of several deletes
]


async def child(sandbox: Sandbox, file: Path, journal: Path, point: str, number: int) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *CHILD, sandbox.base_url("aelyst"), sandbox.token("aelyst"), str(file), str(journal), point,
        str(number), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode()


def emails(sandbox: Sandbox) -> set[str]:
    return {one["email"] for one in sandbox.contacts("aelyst")}


def table(numbers: range, path: Path) -> Path:
    path.write_text("email,first_name\n" + "".join(f"p{number}@example.com,P{number}\n" for number in numbers))
    return path


@pytest.mark.parametrize(("point", "number"), CASES)
async def test_killed_mirror_resumes_and_deletes_exactly_the_missing_contacts(
    tmp_path: Path, point: str, number: int
) -> None:
    everybody = {f"p{one}@example.com" for one in range(COUNT)}
    kept = {f"p{one}@example.com" for one in range(KEPT)}
    async with Sandbox(quota="10000/s") as sandbox:
        people = [{"firstName": f"P{one}", "email": f"p{one}@example.com"} for one in range(COUNT)]
        sandbox.add_contacts("aelyst", people)
        file, journal = table(range(COUNT), tmp_path / "p.csv"), tmp_path / "j.db"
        async with AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst")) as gateway:
            await ContactSync(gateway, journal=journal).run(read_contacts(file))  # the journal knows all of them
            table(range(KEPT), file)
            code, _ = await child(sandbox, file, journal, point, number)
            assert code == -signal.SIGKILL
            assert kept <= emails(sandbox) <= everybody
            code, out = await child(sandbox, file, journal, "none", 0)
            report = json.loads(out)
            assert (code, report["not_deleted"], report["failed"]) == (0, None, 0)
            assert emails(sandbox) == kept
            # Whatever was killed when, the journal remembers no contact that is gone.
            table(range(COUNT), file)
            back = await ContactSync(gateway, journal=journal, retry=RetrySettings(settle=0.01)).run(
                read_contacts(file)
            )
        assert back.unchanged == KEPT
        assert emails(sandbox) == everybody
