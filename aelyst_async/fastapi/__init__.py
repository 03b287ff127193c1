"""FastAPI integration (extra ``fastapi``): gateways with the app's lifespan, durable background jobs, error responses.

::

    gateway = AppGateway(partial(open_gateway, "aelyst"))
    jobs = Jobs(journal="jobs.db")
    app = FastAPI(lifespan=lifespans(gateway, jobs))
    add_error_handlers(app)
    app.include_router(health_router(gateway, jobs))
    app.include_router(jobs_router(jobs))

======================  =====================================================================================
`lifespan`              gateways opened and closed with the app, one for all or one for each tenant
`jobs`                  background jobs: the public class
`runner`                the scheduler of the jobs
`pauses`, `trials`      when jobs continue after a temporary failure, or after the death of their process
`failures`              classification of errors, and messages without personal data
`store`                 the interface of a job store, and the store in memory
`journal`, `database`   the store in SQLite: the thread, and the SQL
`handlers`              this library's errors as responses
`routes`                ``/jobs/{job_id}``, ``/healthz``, ``/readyz``
`workers`               a warning if several workers each use the whole quota
======================  =====================================================================================
"""

try:
    import fastapi as _fastapi  # noqa: F401 - a clear error if it is missing
except ImportError as _missing:
    if _missing.name != "fastapi":
        raise
    raise ImportError(
        "aelyst_async.fastapi needs FastAPI: pip install 'aelyst-async[fastapi]'", name="fastapi"
    ) from None

from aelyst_async.fastapi.failures import TEMPORARY
from aelyst_async.fastapi.handlers import add_error_handlers, error_response
from aelyst_async.fastapi.jobs import Jobs
from aelyst_async.fastapi.lifespan import AppGateway, TenantGateways, attach, lifespans
from aelyst_async.fastapi.routes import Accepted, JobView, accepted, health_router, jobs_router
from aelyst_async.fastapi.runner import Job, JobsStats
from aelyst_async.fastapi.store import (
    FailedJob,
    InvalidJobError,
    JobQueueFullError,
    JobsClosedError,
    JobsError,
    JobStatus,
    JournalError,
    union,
)
from aelyst_async.fastapi.workers import worker_count

__all__ = [
    "TEMPORARY",
    "Accepted",
    "AppGateway",
    "FailedJob",
    "InvalidJobError",
    "Job",
    "JobQueueFullError",
    "JobStatus",
    "JobView",
    "Jobs",
    "JobsClosedError",
    "JobsError",
    "JobsStats",
    "JournalError",
    "TenantGateways",
    "accepted",
    "add_error_handlers",
    "attach",
    "error_response",
    "health_router",
    "jobs_router",
    "lifespans",
    "union",
    "worker_count",
]
