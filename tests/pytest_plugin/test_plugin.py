"""The pytest plugin as in a user's project: loaded by its entry point, in a separate pytest process."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.slow  # each test starts pytest

ASYNC = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = {scope}\nfilterwarnings = error\n"


def _run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)


def test_sandbox_fixture_gives_each_test_its_own_data_and_gateways(pytester: pytest.Pytester) -> None:
    pytester.makeini(ASYNC.format(scope="function"))
    pytester.makepyfile(
        """
        import urllib.request
        import pytest
        from aelyst_async import ContactFields, errors
        from aelyst_async.pytest_plugin import SandboxFixture

        @pytest.mark.parametrize("turn", [1, 2])
        async def test_writes(sandbox, turn):
            assert sandbox.contacts("aelyst") == []
            await sandbox.aelyst.create(ContactFields(first_name="Ann", email="ann@example.com"))
            assert (await sandbox.aelyst.get("email:ann@example.com")).first_name == "Ann"
            assert [one["email"] for one in sandbox.contacts("aelyst")] == ["ann@example.com"]
            assert [one.method for one in sandbox.requests] == ["POST", "GET"]
            assert sandbox.aelyst is sandbox.aelyst

        async def test_gateways(sandbox):
            await sandbox.dmchamp.create(ContactFields(phone="+601", first_name="Bo"))
            assert (await sandbox.dmchamp.get("phone:+601")).id == sandbox.contacts("dmchamp")[0]["id"]
            contact = sandbox.add_contact("callab", {"firstname": "Cy"})
            assert (await sandbox.callab.get(f"id:{contact}")).first_name == "Cy"

        async def test_faults_and_time(sandbox):
            sandbox.add_contact("aelyst", {"email": "ann@example.com"})
            sandbox.fail_next(503)
            await sandbox.aelyst.get("email:ann@example.com")
            assert [one.status for one in sandbox.requests] == [503, 200]
            sandbox.assume(visible_after=3600)
            await sandbox.aelyst.create(ContactFields(first_name="Late", email="late@example.com"))
            with pytest.raises(errors.ContactNotFoundError):
                await sandbox.aelyst.get("email:late@example.com")
            sandbox.advance(3600)
            await sandbox.aelyst.get("email:late@example.com")

        @pytest.mark.sandbox(quota="2/h", switches={"aelyst.retry_after": "absent"}, faults=["500=nth:1"])
        def test_sync_test_with_marker(sandbox, monkeypatch):
            with pytest.raises(RuntimeError, match="async tests"):
                sandbox.aelyst
            assert set(sandbox.environment()) == {
                "AELYST_TOKEN", "AELYST_BASE_URL", "DMCHAMP_API_KEY", "DMCHAMP_BASE_URL", "CALLAB_TOKEN",
                "CALLAB_BASE_URL",
            }
            request = urllib.request.Request(
                sandbox.base_url("aelyst") + "/contact/id:1",
                headers={"Authorization": "Bearer " + sandbox.token("aelyst")},
            )
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            statuses = []
            for _ in range(3):
                with pytest.raises(urllib.error.HTTPError) as caught:
                    opener.open(request)
                statuses.append(caught.value.code)
                caught.value.close()
            assert statuses == [500, 404, 429]
            assert sandbox.counters.refused == 1

        def test_type_and_repr(sandbox: SandboxFixture) -> None:
            assert isinstance(sandbox, SandboxFixture)
            assert repr(sandbox).startswith("<SandboxFixture 'test_type_and_repr")
            assert sandbox.url in repr(sandbox)
            assert "sandbox-token" not in repr(sandbox)
            assert {"aelyst", "environment", "fail_next", "counters", "contacts"} <= set(dir(sandbox))

        def test_unknown_switch_and_attribute_raise(sandbox):
            with pytest.raises(ValueError, match="no switch"):
                sandbox.assume(nonsense=1)
            with pytest.raises(AttributeError):
                sandbox.nonsense
        """
    )
    _run(pytester).assert_outcomes(passed=7)


def test_sandbox_fixture_works_with_a_session_loop_and_xdist(pytester: pytest.Pytester) -> None:
    pytester.makeini(
        ASYNC.format(scope="session").replace("filter", "asyncio_default_test_loop_scope = session\nfilter")
    )
    pytester.makepyfile(
        """
        import pytest
        from aelyst_async import ContactFields

        @pytest.mark.parametrize("turn", range(6))
        async def test_own_sandbox_per_test(sandbox, turn):
            assert sandbox.counters.requests == 0
            await sandbox.aelyst.create(ContactFields(first_name="Ann", email="ann@example.com"))
            assert len(sandbox.contacts("aelyst")) == 1
        """
    )
    _run(pytester, "-n", "2").assert_outcomes(passed=6)


def test_failed_test_report_lists_requests_without_the_credential(pytester: pytest.Pytester) -> None:
    pytester.makeini(ASYNC.format(scope="function"))
    pytester.makepyfile(
        """
        import pytest

        async def test_fails(sandbox):
            sandbox.set_tokens("dmchamp", "s3cret-key")
            sandbox.fail_next("html", endpoint="GET /contacts")
            sandbox.add_contact("dmchamp", {"phoneNumber": "+601"})
            await sandbox.dmchamp.get("phone:+601")
            assert not sandbox.requests

        @pytest.mark.sandbox(speed=9)
        def test_marker(sandbox): pass
        """
    )
    result = _run(pytester)
    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*sandbox: what the server saw*",
            "*1 dmchamp GET /contacts?phoneNumber=*apiKey=**** → 502  fault: html 502",
            "*2 dmchamp GET /contacts?phoneNumber=* → 200",
        ]
    )
    result.stdout.fnmatch_lines(["*pytest.mark.sandbox has no speed*"])
    assert "s3cret-key" not in result.stdout.str().partition("what the server saw")[2]


@pytest.mark.usefixtures("uncounted")
def test_plugin_imports_nothing_heavy_unless_used(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_light(pytestconfig):
            assert pytestconfig.pluginmanager.has_plugin("aelyst_async")
            heavy = {"aiohttp", "cattrs", "sqlite3", "aelyst_async.sandbox", "aelyst_providers"}
            assert heavy.isdisjoint(sys.modules)
        """
    )
    _run(pytester, "-p", "no:asyncio", "-p", "no:xdist").assert_outcomes(passed=1)


def test_a_failed_test_shows_the_last_requests_and_how_many_came_before(pytester: pytest.Pytester) -> None:
    pytester.makeini(ASYNC.format(scope="function"))
    pytester.makepyfile(
        """
        import contextlib
        from aelyst_async import errors

        async def test_fails(sandbox):
            for number in range(25):
                with contextlib.suppress(errors.ContactNotFoundError):
                    await sandbox.aelyst.get(f"id:{number + 1}")
            assert not hasattr(sandbox, "_private")
            raise AssertionError
        """
    )
    result = _run(pytester, "-p", "no:xdist")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*… 5 before these*"])


def test_a_sandbox_that_cannot_start_fails_the_test_with_its_reason(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import aelyst_async.sandbox

        class Broken:
            def __init__(self, **options):
                raise RuntimeError("no room for a sandbox")

        aelyst_async.sandbox.Sandbox = Broken
        """
    )
    pytester.makepyfile("def test_sandbox(sandbox): ...")
    result = _run(pytester, "-p", "no:xdist", "-p", "no:asyncio")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*RuntimeError: no room for a sandbox*"])
