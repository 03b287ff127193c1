"""At home in FastAPI (extra ``fastapi``): gateways that live as long as the app, jobs that survive it, honest errors.

::

    gateway = AppGateway(partial(open_gateway, "aelyst"))
    jobs = Jobs(journal="jobs.db")
    app = FastAPI(lifespan=lifespans(gateway, jobs))
    add_error_handlers(app)
    app.include_router(health_router(gateway, jobs))
    app.include_router(jobs_router(jobs))

======================  =====================================================================================
`lifespan`              gateways opened and closed with the app; one for each tenant
`jobs`                  background work: bounded, in order, merged, drained
`runner`                the engine under it
`pauses`, `trials`      when jobs go on that failed temporarily, or whose process died
`failures`              what an error means, and what of it may be told
`store`                 where jobs stand: the rules, and in memory
`journal`, `database`   …in SQLite: the thread, and the file
`handlers`              our errors as answers
`routes`                ``/jobs/{job_id}``, ``/healthz``, ``/readyz``
`workers`               the warning of several workers that each think the quota theirs
======================  =====================================================================================
"""

try:
    import fastapi as _fastapi  # noqa: F401 - to say what is missing before something else does
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
