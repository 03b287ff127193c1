"""The vendors that the sandbox stands in for: the one place that names them."""

from __future__ import annotations

from aelyst_async.sandbox.vendors.aelyst import AELYST
from aelyst_async.sandbox.vendors.base import Call, Refusal, Reply, Route, Vendor
from aelyst_async.sandbox.vendors.callab import CALLAB
from aelyst_async.sandbox.vendors.dmchamp import DMCHAMP

__all__ = ["VENDORS", "Call", "Refusal", "Reply", "Route", "Vendor"]

VENDORS: dict[str, Vendor] = {vendor.name: vendor for vendor in (AELYST, DMCHAMP, CALLAB)}
