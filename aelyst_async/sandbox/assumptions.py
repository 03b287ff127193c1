"""The behaviours of the sandbox, each *documented* or *assumed*.

A documented behaviour is described on a page of the vendor and carries the page's URL. Where the pages leave
something open, a client that was tested against one guess may depend on it. So an assumed behaviour with several
plausible values is a switch, and a client's tests can run with all of them.

A switch is named ``vendor.name``. `Settings.set` also takes the name without the vendor and sets the switch of every
vendor that has it. ``aelyst sandbox explain`` prints the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import attrs

from aelyst_async.sandbox.quota import parse_quota

__all__ = ["Behaviour", "Settings", "assumed", "common_behaviours", "seconds", "table"]


def seconds(text: str) -> float:
    """Read a duration in seconds, 0 or more. Raises `ValueError`."""
    value = float(text)
    if not 0 <= value < 1e9:
        raise ValueError(f"{text!r} is not a number of seconds, 0 or more")
    return value


@attrs.frozen(kw_only=True)
class Behaviour:
    """One behaviour.

    ``values`` are the possible values of a switch; an empty tuple means that the behaviour is fixed. With ``parse`` the
    value is free, and ``values[0]`` describes it. ``source`` names the vendor's page or says why the behaviour is
    assumed. ``url`` is the address of that page, or empty.
    """

    name: str
    summary: str
    source: str
    url: str = ""
    basis: Literal["documented", "assumed"] = "assumed"
    values: tuple[str, ...] = ()
    default: str = ""
    parse: Callable[[str], Any] | None = None

    @property
    def switch(self) -> bool:
        """Whether it can be set."""
        return bool(self.values)

    def check(self, value: object) -> str:
        """Return `value` as a `str`. Raises `ValueError` that lists the possible values."""
        text = value if isinstance(value, str) else _text_of(value)
        if not self.switch:
            raise ValueError(f"{self.name} is documented and cannot be set ({self.source})")
        if self.parse is not None:
            try:
                self.parse(text)
            except ValueError:
                raise ValueError(f"{self.name}: {text!r} is not {self.values[0]}") from None
        elif text not in self.values:
            raise ValueError(f"{self.name}: {text!r} is not one of {', '.join(self.values)}")
        return text


def _text_of(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    raise ValueError(f"{value!r} is not a value of a switch")


def assumed(name: str, summary: str, source: str, *values: str, url: str = "") -> Behaviour:
    """Return an assumed behaviour, named ``vendor.name``. `values[0]` is the default; without any it is fixed."""
    default = values[0] if values else ""
    return Behaviour(name=name, summary=summary, source=source, url=url, values=values, default=default)


def common_behaviours(
    vendor: str, *, quota: str, page: str | None = None, url: str = "", front_url: str = "", create_url: str = ""
) -> tuple[Behaviour, ...]:
    """Return the switches that every vendor has.

    `quota` is the default quota. `page` and `url` name the page that documents the rate-limit headers, if there is
    one, `front_url` the page about the scope of a quota, `create_url` the page that advises a delay after a create.
    """
    shown = page or "no page of this vendor mentions a quota"
    return (
        Behaviour(
            name=f"{vendor}.quota",
            summary="how many requests are permitted, per token",
            source=shown,
            url=url,
            values=("a quota such as 10/s, 5/2s or none",),
            default=quota,
            parse=parse_quota,
        ),
        Behaviour(
            name=f"{vendor}.quota_scope",
            summary="what shares one quota: an endpoint (method and route), a full path, or the whole account",
            source="one page says 'for this end point', the vendor's front page 'per unique request path'"
            if page
            else shown,
            url=front_url,
            values=("endpoint", "path", "account"),
            default="endpoint",
        ),
        Behaviour(
            name=f"{vendor}.quota_window",
            summary="how requests are counted",
            source="not documented: there is no reset header",
            values=("fixed", "sliding", "token"),
            default="fixed",
        ),
        Behaviour(
            name=f"{vendor}.refused_count",
            summary="whether a call that got 429 counts as well",
            source="not documented",
            values=("no", "yes"),
            default="no",
        ),
        Behaviour(
            name=f"{vendor}.quota_headers",
            summary="which answers carry X-RateLimit-Limit and X-RateLimit-Remaining",
            source="the page lists them beside 429" if page else shown,
            url=url,
            values=("all", "429", "none"),
            default="all",
        ),
        Behaviour(
            name=f"{vendor}.retry_after",
            summary="the form of Retry-After on 429",
            source="'number' on the page; RFC 9110 permits seconds and a date" if page else shown,
            url=url,
            values=("seconds", "decimal", "date", "absent"),
            default="seconds",
        ),
        Behaviour(
            name=f"{vendor}.visible_after",
            summary="seconds from a create until the contact can be found",
            source="'It is highly recommended to add a delay … as processing time is required'"
            if create_url
            else "not documented",
            url=create_url,
            values=("seconds, 0 or more",),
            default="0",
            parse=seconds,
        ),
    )


def table(behaviours: Iterable[Behaviour], current: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Return the behaviours as JSON-ready rows; `current` has the present values by name."""
    return [
        {
            "name": one.name,
            "basis": one.basis,
            "summary": one.summary,
            "source": one.source,
            "url": one.url,
            "values": list(one.values),
            "free": one.parse is not None,
            "default": one.default,
            "value": (current or {}).get(one.name, one.default),
        }
        for one in behaviours
    ]


class Settings:
    """The switches of one account and their values."""

    __slots__ = ("_behaviours", "_values", "revision")

    def __init__(self, behaviours: Iterable[Behaviour], values: Mapping[str, str] | None = None) -> None:
        self._behaviours = {one.name: one for one in behaviours}
        self._values = {one.name: one.default for one in self._behaviours.values() if one.switch}
        self._values.update(values or {})
        self.revision: int = 0

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def values(self) -> dict[str, str]:
        """Return a copy of the values by name."""
        return dict(self._values)

    def behaviours(self) -> tuple[Behaviour, ...]:
        """Return every behaviour, documented and assumed."""
        return tuple(self._behaviours.values())

    def set(self, changes: Mapping[str, object]) -> dict[str, str]:
        """Set switches, all or none, and return the new values by full name.

        A name without a vendor sets the switch of every vendor that has it. Raises `ValueError` for an unknown name or
        value.
        """
        checked: dict[str, str] = {}
        for name, value in changes.items():
            found = [one for one in self._behaviours.values() if name in {one.name, one.name.partition(".")[2]}]
            if not found:
                raise ValueError(f"there is no switch {name!r}; `aelyst sandbox explain` lists them")
            checked.update({one.name: one.check(value) for one in found})
        self._values.update(checked)
        self.revision += 1
        return checked
