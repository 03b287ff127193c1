"""The simulator's arithmetic, as far as errors in it would not fail the quota tests."""

from tests.ratelimit.simulator import Server, simulate


def test_token_server_may_hold_less_than_it_refills_in_a_window() -> None:
    server = Server(kind="token", limit=200, window=1.0, burst=20)
    at_once = [server.ask(0.0) for _ in range(21)]
    assert [status for status, _ in at_once] == [200] * 20 + [429]
    assert at_once[0][1] == {"X-RateLimit-Limit": "200", "X-RateLimit-Remaining": "19"}
    assert [server.ask(0.05)[0] for _ in range(11)] == [200] * 10 + [429]
    assert [server.ask(9.0)[0] for _ in range(21)] == [200] * 20 + [429]


def test_token_server_holds_its_limit_by_default() -> None:
    server = Server(kind="token", limit=30, window=1.0)
    assert [server.ask(0.0)[0] for _ in range(31)] == [200] * 30 + [429]


def test_result_by_client_excludes_requests_before_the_last_client_starts() -> None:
    server = Server(kind="fixed", limit=20, window=1.0)
    result = simulate(server, windows=12, clients=2, start_gap=4.0)
    assert len([at for at in server.accepted if at >= 4.0]) == sum(result.by_client) < len(server.accepted)
