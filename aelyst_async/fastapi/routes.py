"""Routes to include: what became of a job, and whether the app is alive and ready.

``/healthz`` says that the process answers: when it does not, restart it. ``/readyz`` says that requests should come
here: no while the app is starting or draining, while the queue is full, and while the vendor refuses the credential.
Neither asks the vendor anything: a probe must not spend the quota, and an app is not cured by restarting it because
somebody else is down.
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
    """What `health_router` asks: `AppGateway`, `TenantGateways`, `Jobs`, or anything of yours."""

    def problem(self) -> str | None:
        """Return why requests should not come now, in a few words without secrets, or None."""
        ...


class Accepted(BaseModel):
    """The body of a 202."""

    job_id: str
    merged: bool = False


class JobView(BaseModel):
    """What `GET /jobs/{job_id}` answers: nothing of the job's key or arguments, which hold people's data."""

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
        """Return the view of a job's status."""
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
    """Return the body that tells the caller of a job; give the route ``status_code=202``."""
    return Accepted(job_id=job.id, merged=job.merged)


def jobs_router(jobs: Jobs, *, path: str = "/jobs") -> APIRouter:
    """Return a router with ``GET {path}/{job_id}``: 200 with a `JobView`, or 404.

    A job's id cannot be guessed, so every caller that has it may ask. Without a journal, only the worker process
    that took the job knows it.
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
    """Return a router with the two probes; ready means that none of `parts` has a problem."""
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
