"""`open_gateway`: providers by name or class, settings from the environment."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from aelyst_async import Contact, ContactReader, RateLimiter, RetryPolicy, errors, open_gateway, registry
from aelyst_async.identifiers import Identifier
from aelyst_providers.aelyst import AelystGateway
from aelyst_providers.callab import CallabGateway
from aelyst_providers.dmchamp import DmChampGateway

PROVIDERS = [
    ("aelyst", AelystGateway, "AELYST_TOKEN", "AELYST_BASE_URL", "https://api.aelyst.ai/v1"),
    ("dmchamp", DmChampGateway, "DMCHAMP_API_KEY", "DMCHAMP_BASE_URL", "https://api.dmchamp.com/v1"),
    ("callab", CallabGateway, "CALLAB_TOKEN", "CALLAB_BASE_URL", "https://api.callab.ai/v1"),
]


@pytest.mark.parametrize(("name", "kind", "variable", "base_variable", "default"), PROVIDERS)
async def test_open_gateway_reads_credential_and_base_url_from_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: Any, variable: str, base_variable: str, default: str
) -> None:
    with pytest.raises(errors.ConfigurationError, match=variable):
        open_gateway(name)
    monkeypatch.setenv(variable, "from-env")
    gateway = open_gateway(name)
    assert type(gateway) is kind
    assert gateway.base_url == default
    monkeypatch.setenv(base_variable, "https://elsewhere.example/v2/")
    gateway = open_gateway(name)
    assert gateway.base_url == "https://elsewhere.example/v2"
    # Keyword arguments win.
    other = open_gateway(name, base_url="https://mine.example", **{variable.partition("_")[2].lower(): "mine"})
    assert other.base_url == "https://mine.example"
    assert await other.account() == await kind("mine", base_url="https://mine.example").account()
    assert await gateway.account() == await kind("from-env", base_url="https://elsewhere.example/v2").account()


@pytest.mark.parametrize("kind", [AelystGateway, DmChampGateway, CallabGateway])
def test_open_gateway_accepts_a_class(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match=f"{kind.provider.upper()}_"):
        open_gateway(kind)
    variable = registry.credential_variable(kind.provider, kind)[1]
    monkeypatch.setenv(variable, "from-env")
    monkeypatch.setenv(f"{kind.provider.upper()}_BASE_URL", "https://elsewhere.example/v2")
    gateway = open_gateway(kind, retry=RetryPolicy(max_attempts=1))
    assert type(gateway) is kind
    assert gateway.base_url == "https://elsewhere.example/v2"
    with pytest.raises(errors.ConfigurationError, match="no setting named tokne"):
        open_gateway(kind, tokne="x")


def test_open_gateway_opens_a_subclass_as_that_subclass(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(AelystGateway):
        provider = "mine"

    monkeypatch.setenv("MINE_TOKEN", "t")
    assert type(open_gateway(Mine)) is Mine


@pytest.mark.parametrize("value", ["", " ", "two words", "line\n"])
def test_open_gateway_rejects_an_invalid_credential_in_environment(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("AELYST_TOKEN", value)
    with pytest.raises(errors.ConfigurationError, match=r"AELYST_TOKEN|token"):
        open_gateway("aelyst")


def test_open_gateway_ignores_an_empty_base_url_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AELYST_BASE_URL", "")
    assert open_gateway("aelyst", token="t").base_url == "https://api.aelyst.ai/v1"


def test_open_gateway_passes_settings_to_the_gateway() -> None:
    limiter = RateLimiter()
    assert open_gateway("callab", token="t", limiter=limiter, contact_path="/contacts/{id}").limiter is limiter
    assert open_gateway("aelyst", token=lambda: "t").provider == "aelyst"


@pytest.mark.parametrize("name", ["", "Aelyst", "aelyst ", "salesforce", "../aelyst"])
def test_unknown_provider_error_lists_known_providers(name: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="aelyst, callab, dmchamp"):
        open_gateway(name)


def test_unknown_setting_error_names_the_setting() -> None:
    with pytest.raises(errors.ConfigurationError, match="tokne"):
        open_gateway("aelyst", token="t", tokne="x")
    with pytest.raises(errors.ConfigurationError, match="contact_path"):
        open_gateway("aelyst", token="t", contact_path="/c/{id}")


def test_provider_names_include_the_published_providers() -> None:
    assert {"aelyst", "callab", "dmchamp"} <= set(registry.provider_names())


class ThirdPartyGateway:
    """A gateway of another package. It satisfies the protocol and derives from nothing of ours."""

    provider = "acme-crm"

    def __init__(self, api_key: str, *, region: str = "eu") -> None:
        self.api_key, self.region = api_key, region

    async def get(self, identifier: Identifier | str) -> Contact:
        return Contact(id=str(identifier))


def a_function(token: str) -> object:
    return token


class NoGateway:
    def __init__(self, token: str) -> None:
        self.token = token


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "acme-crm": "ThirdPartyGateway", "function": "a_function", "nothing": "NoGateway", "lost": "Lost",
    }  # fmt: skip
    points = [
        *(EntryPoint(name, f"{__name__}:{value}", "aelyst_async.providers") for name, value in values.items()),
        EntryPoint("gone", "no_such_module:Gateway", "aelyst_async.providers"),
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
    monkeypatch.setattr(registry, "entry_points", lambda group: points, raising=False)
    monkeypatch.setitem(__import__("sys").modules, __name__, __import__("sys").modules[__name__])


@pytest.mark.usefixtures("published")
async def test_open_gateway_opens_a_third_party_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.ConfigurationError, match="ACME_CRM_API_KEY"):
        open_gateway("acme-crm")
    monkeypatch.setenv("ACME_CRM_API_KEY", "k")
    monkeypatch.setenv("ACME_CRM_BASE_URL", "https://x.example")  # the class has no such setting: not passed
    gateway = open_gateway("acme-crm", region="us")
    assert (gateway.api_key, gateway.region) == ("k", "us")
    assert (await gateway.get("id:1")).id == "id:1"


async def test_open_gateway_opens_a_third_party_class_without_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_CRM_API_KEY", "k")
    gateway = open_gateway(ThirdPartyGateway, region="us")
    assert (type(gateway), gateway.api_key, gateway.region) == (ThirdPartyGateway, "k", "us")


def test_open_gateway_rejects_a_class_without_provider_name() -> None:
    kinds: list[Any] = [NoGateway, ContactReader, type("Empty", (ThirdPartyGateway,), {"provider": ""})]
    for kind in kinds:
        with pytest.raises(errors.ConfigurationError, match=f"{kind.__name__} needs a class attribute"):
            open_gateway(kind)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("name", ["function", "nothing", "lost", "gone"])
def test_open_gateway_rejects_entry_points_that_are_no_gateway(name: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=name):
        open_gateway(name, token="t")
