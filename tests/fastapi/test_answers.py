"""Error handlers, the routes for jobs and probes, logging of failed jobs, and the warning about workers."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from fastapi import FastAPI

from aelyst_async import RateLimiter, errors
from aelyst_async.fastapi import (
    Accepted,
    InvalidJobError,
    JobQueueFullError,
    Jobs,
    JobsClosedError,
    JournalError,
    accepted,
    add_error_handlers,
    health_router,
    jobs_router,
    lifespans,
    worker_count,
)
from aelyst_async.fastapi.workers import warn_of_split_quota
from aelyst_async.ratelimit import SharedQuota
from tests.fastapi.apps import client, served
from tests.fastapi.helpers import MakeJobs, ended, until

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup  # pyright: ignore[reportMissingImports]

SECRET = "sk-live-7f3a"
API: dict[str, Any] = {
    "message": f"vendor message {SECRET}",
    "method": "PUT",
    "url": "https://vendor/contact/ann@example.com",
    "body": f"vendor body {SECRET}",
    "headers": {"X-Vendor": SECRET},
}


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (errors.RateLimitedError(status=429, retry_after=1.2, **API), 503, "2"),
        (errors.RateLimitedError(status=429, **API), 503, "5"),
        (errors.RateLimitedError(status=429, retry_after=0.0, **API), 503, "1"),
        (errors.QueuedError(status=449, **API), 202, "5"),
        (errors.AuthenticationError(status=401, **API), 500, None),
        (errors.AuthenticationError(status=403, **API), 500, None),
        (errors.ContactNotFoundError(status=404, **API), 404, None),
        (errors.ConflictError(status=409, **API), 409, None),
        (errors.BadRequestError(status=400, **API), 422, None),
        (errors.ServerError(status=500, may_have_been_applied=True, **API), 502, None),
        (errors.ApiError(status=418, **API), 500, None),
        (errors.TransportError(f"lost {SECRET}", may_have_been_applied=True), 502, None),
        (errors.RequestTimeoutError(f"slow {SECRET}"), 504, None),
        (errors.ResponseDecodeError(problem=f"no {SECRET}", body=SECRET), 502, None),
        (errors.ConfigurationError(f"bad setting {SECRET}"), 500, None),
        (errors.UnsupportedOperationError(f"cannot {SECRET}"), 500, None),
        (JobQueueFullError(f"full {SECRET}", 17.1), 503, "18"),
        (JobsClosedError(f"closed {SECRET}"), 503, "5"),
        (JournalError(f"disk {SECRET}"), 503, "5"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_error_handlers_map_errors_to_status_and_hide_vendor_details(
    error: errors.ContactsError, status: int, retry_after: str | None
) -> None:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/")
    async def route() -> None:
        raise error

    async with client(app) as http:
        answer = await http.get("/")
    assert answer.status_code == status
    assert answer.headers.get("Retry-After") == retry_after
    assert SECRET not in answer.text
    assert "vendor" not in answer.text
    assert "ann@example.com" not in answer.text
    body = answer.json()
    assert body["detail"]
    assert body.get("error") == (None if status == 500 else type(error).__name__)
    assert body.get("may_have_been_applied", False) is getattr(error, "may_have_been_applied", False)


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidIdentifierError("email: 'x' is not of the form name@domain"),
        errors.UnsupportedFieldError("aelyst create: first_name: is required to create a contact"),
        InvalidJobError("the key of a job must be text"),
        errors.InvalidIdentifierError("id: '\ud800' is half of a pair"),
    ],
)
async def test_error_handlers_return_input_errors_to_the_caller(error: errors.ContactsError) -> None:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/")
    async def route() -> None:
        raise error

    async with client(app) as http:
        answer = await http.get("/")
    assert answer.status_code == 422
    assert answer.json()["detail"] == str(error).encode("utf-8", "backslashreplace").decode()


async def test_authentication_error_is_logged_without_the_credential(caplog: pytest.LogCaptureFixture) -> None:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/")
    async def route() -> None:
        raise errors.AuthenticationError(status=401, **API)

    async with client(app) as http:
        await http.get("/")
    assert "AuthenticationError (status 401)" in caplog.text
    assert SECRET not in caplog.text
    assert "ann@example.com" not in caplog.text


async def test_app_handler_takes_precedence_over_add_error_handlers() -> None:
    from starlette.responses import PlainTextResponse

    app = FastAPI()
    add_error_handlers(app)
    app.add_exception_handler(errors.ContactNotFoundError, lambda _, error: PlainTextResponse("mine", 410))

    @app.get("/")
    async def route() -> None:
        raise errors.ContactNotFoundError(status=404)

    async with client(app) as http:
        assert (await http.get("/")).text == "mine"


def service(jobs: Jobs, work: Any) -> FastAPI:
    app = FastAPI(lifespan=lifespans(jobs))
    add_error_handlers(app)
    app.include_router(jobs_router(jobs))
    app.include_router(health_router(jobs))

    @app.post("/hooks/{key}", status_code=202)
    async def hook(key: str, value: int = 0) -> Accepted:
        return accepted(await jobs.submit(key, work, value=value))

    return app


async def test_accepted_job_has_a_status_route_without_personal_data(make: MakeJobs) -> None:
    jobs = make()

    @jobs.register
    async def work(value: int) -> None:
        if value == 13:
            raise errors.ServerError(status=501, message="ann@example.com")

    app = service(jobs, work)
    async with served(app) as http:
        answer = await http.post("/hooks/ann@example.com?value=1")
        assert answer.status_code == 202
        good = answer.json()
        bad = (await http.post("/hooks/bob@example.com?value=13")).json()
        await ended(jobs, good["job_id"])
        found = await http.get(f"/jobs/{good['job_id']}")
        assert found.status_code == 200
        assert (found.json()["state"], found.json()["submissions"], found.json()["error"]) == ("done", 1, None)
        assert "ann@example.com" not in found.text
        await until(lambda: jobs.stats().retried)
        waiting = (await http.get(f"/jobs/{bad['job_id']}")).json()
        assert waiting["state"] in {"waiting", "running"}
        assert (await http.get("/jobs/unknown")).status_code == 404
        schema = (await http.get("/openapi.json")).json()
        assert "JobView" in schema["components"]["schemas"]


async def test_full_queue_gives_503_with_retry_after_and_is_not_ready(make: MakeJobs) -> None:
    gate = asyncio.Event()
    jobs = make(capacity=2, drain_timeout=5)

    @jobs.register
    async def work(value: int) -> None:
        await gate.wait()

    async with served(service(jobs, work)) as http:
        assert [(await http.post(f"/hooks/{n}")).status_code for n in range(4)] == [202, 202, 503, 503]
        refused = await http.post("/hooks/x")
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        gate.set()
        await until(lambda: jobs.stats().done == 2)
        assert (await http.get("/readyz")).status_code == 200
    async with client(service(jobs, work)) as http:
        assert (await http.post("/hooks/x")).status_code == 503
        assert (await http.get("/jobs/x")).status_code == 503


def test_failing_job_is_printed_once_without_and_with_logging_setup(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio\n"
        "from aelyst_async.fastapi import Jobs\n"
        "async def fail(): raise ValueError('the bug')\n"
        "async def main():\n"
        "    async with Jobs() as jobs: await jobs.submit('k', fail)\n"
        "asyncio.run(main())\n"
    )
    found = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, check=True)
    assert found.stderr.count("ValueError: the bug") == 1
    # With logging configured, it appears once as well.
    program.write_text("import logging\nlogging.basicConfig()\n" + program.read_text())
    found = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, check=True)
    assert found.stderr.count("ValueError: the bug") == 1


def test_import_without_fastapi_names_the_extra_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['fastapi'] = None\nimport aelyst_async.fastapi"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 1
    assert "pip install 'aelyst-async[fastapi]'" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "workers"),
    [
        (["uvicorn", "app:app"], {}, 1),
        (["uvicorn", "app:app", "--workers", "4"], {}, 4),
        (["/usr/bin/uvicorn", "app:app", "--workers=3"], {}, 3),
        (["/x/uvicorn/__main__.py", "app:app", "--workers", "2"], {}, 2),
        (["gunicorn", "-w", "4", "app:app"], {}, 4),
        (["gunicorn", "-w4", "app:app"], {}, 4),
        (["gunicorn", "app:app"], {"GUNICORN_CMD_ARGS": "--bind=:80 --workers=5"}, 5),
        (["gunicorn", "app:app"], {"GUNICORN_CMD_ARGS": "--bind='unclosed"}, 1),
        (["fastapi", "run", "app.py", "--workers", "6"], {}, 6),
        (["granian", "--interface", "asgi", "app:app", "--workers", "7"], {}, 7),
        (["python"], {"WEB_CONCURRENCY": "8"}, 8),
        (["python"], {"WEB_CONCURRENCY": "many"}, 1),
        (["python"], {"WEB_CONCURRENCY": "0"}, 1),
        (["python"], {"UVICORN_WORKERS": "2"}, 2),
        (["uvicorn", "app:app", "--workers"], {}, 1),
        (["backup-tool", "--workers", "9"], {}, 1),
        ([], {}, 1),
    ],
)
def test_worker_count_reads_arguments_and_environment(
    arguments: list[str], environment: dict[str, str], workers: int
) -> None:
    assert worker_count(arguments, environment) == workers


def test_split_quota_warning_needs_workers_with_separate_limiters(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter = RateLimiter()
    monkeypatch.setattr(sys, "argv", ["python"])
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    assert not warn_of_split_quota(limiter, "X")
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    assert not warn_of_split_quota(None, "a gateway that has no limiter")
    with caplog.at_level(logging.WARNING):
        assert warn_of_split_quota(limiter, "AelystGateway")
    assert "AelystGateway: 3 worker processes share one account" in caplog.text
    limiter = RateLimiter(shared=Mock(spec=SharedQuota))
    assert not warn_of_split_quota(limiter, "X")


LIMITED = errors.RateLimitedError(status=429, retry_after=7.0)
DOWN = errors.ServerError(status=503, retry_after=30.0, may_have_been_applied=True)


@pytest.mark.parametrize(
    ("group", "status", "kind", "retry_after", "in_doubt"),
    [
        (ExceptionGroup("g", [LIMITED]), 503, "RateLimitedError", "7", False),
        (ExceptionGroup("g", [LIMITED, DOWN]), 503, "RateLimitedError", "30", True),
        (ExceptionGroup("g", [LIMITED, ExceptionGroup("h", [errors.ContactNotFoundError(status=404)])]), 404,
         "ContactNotFoundError", None, False),
        (ExceptionGroup("g", [errors.BadRequestError(status=400), errors.AuthenticationError(status=401)]), 500, None,
         None, False),
        (ExceptionGroup("g", [errors.TransportError("x"), errors.RequestTimeoutError("y")]), 504, "RequestTimeoutError",
         None, False),
        (ExceptionGroup("g", [LIMITED, ZeroDivisionError()]), 500, None, None, False),
    ],
)  # fmt: skip
async def test_exception_group_uses_gravest_error_and_longest_retry_after(
    group: ExceptionGroup[Exception], status: int, kind: str | None, retry_after: str | None, in_doubt: bool
) -> None:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/")
    async def route() -> None:
        raise group

    async with client(app) as http:
        answer = await http.get("/")
    assert answer.status_code == status
    assert answer.headers.get("Retry-After") == retry_after
    if not answer.headers["Content-Type"].startswith("text/plain"):
        assert answer.json().get("error") == kind
        assert answer.json().get("may_have_been_applied", False) is in_doubt


@pytest.mark.parametrize("nonsense", [1.8e9, -1.0, float("inf"), float("nan")])
async def test_invalid_retry_after_is_replaced_by_the_default(nonsense: float) -> None:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/")
    async def route() -> None:
        raise errors.RateLimitedError(status=429, retry_after=nonsense)

    async with client(app) as http:
        assert (await http.get("/")).headers["Retry-After"] == "5"
