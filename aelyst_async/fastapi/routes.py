"""Routes to include: the status of a job, and the liveness and readiness of the app.

``/healthz`` (liveness) says that the process answers; if it does not, restart it. ``/readyz`` (readiness) says whether
requests should be sent here: not while the app starts or drains, while the queue is full, or while the vendor refuses
the credential. Neither sends a request to the vendor: a probe must not use the quota, and a restart does not help
while the vendor is down.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import JSONResponse

from aelyst_async.fastapi.jobs import Jobs
from aelyst_async.fastapi.runner import Job
from aelyst_async.fastapi.store import JobState, JobStatus

__all__ = ["Accepted", "HasProblem", "JobView", "accepted", "health_router", "jobs_router"]


class HasProblem(Protocol):
    """What `health_router` takes: `AppGateway`, `TenantGateways`, `Jobs`, or an object of your own."""

    def problem(self) -> str | None:
        """Return why requests should not be sent now, in a few words without secrets, or None."""
        ...


class Accepted(BaseModel):
    """The body of a 202."""

    job_id: str
    merged: bool = False


class JobView(BaseModel):
    """The body of `GET /jobs/{job_id}`. Without key and arguments, which contain personal data."""

    job_id: str
    name: str
    state: JobState
    submissions: int
    starts: int
    submitted_at: datetime
    finished_at: datetime | None
    error: str | None
    error_status: int | None

    @classmethod
    def of(cls, status: JobStatus) -> JobView:
        """Return the body for a job's status."""
        return cls(
            job_id=status.id,
            name=status.name,
            state=status.state,
            submissions=status.submissions,
            starts=status.starts,
            submitted_at=status.submitted_at,
            finished_at=status.finished_at,
            error=status.error,
            error_status=status.error_status,
        )


def accepted(job: Job) -> Accepted:
    """Return the body of a response with an accepted job; give the route ``status_code=202``."""
    return Accepted(job_id=job.id, merged=job.merged)


def jobs_router(jobs: Jobs, *, path: str = "/jobs") -> APIRouter:
    """Return a router with ``GET {path}/{job_id}``: 200 with a `JobView`, or 404.

    A job's id cannot be guessed, so no further authorization is checked. Without a journal, only the worker process
    that accepted the job knows it.
    """
    router = APIRouter(tags=["jobs"])

    @router.get(f"{path}/{{job_id}}", response_model=JobView, responses={404: {"description": "no such job"}})
    async def job_status(job_id: str) -> JobView | JSONResponse:
        status = await jobs.status(job_id)
        if status is None:
            return JSONResponse({"detail": "no such job"}, 404)
        return JobView.of(status)

    return router


def health_router(*parts: HasProblem, healthz: str = "/healthz", readyz: str = "/readyz") -> APIRouter:
    """Return a router with the two probes. The app is ready if none of `parts` has a problem."""
    router = APIRouter(tags=["health"])

    @router.get(healthz)
    async def alive() -> dict[str, str]:
        return {"status": "ok"}

    @router.get(readyz, responses={503: {"description": "not ready"}})
    async def ready() -> JSONResponse:
        problems = [problem for part in parts if (problem := part.problem()) is not None]
        if problems:
            return JSONResponse({"status": "not ready", "problems": problems}, 503)
        return JSONResponse({"status": "ready"})

    return router
