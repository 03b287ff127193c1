"""PostgreSQL, NATS and Redis servers for the tests, each with its own process and folder.

A test is skipped if its server is not installed. With ``CI`` in the environment it fails instead, because `.ci/run`
installs the servers. PostgreSQL does not run as root; for root it runs as the user ``postgres``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pytest

PASSWORD = "s3cret-of-the-database"
_PG = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


class Server:
    """One server. `kill` sends SIGKILL, `start` starts it again with the same data and port."""

    def __init__(self, command: list[str], port: int, *, user: str | None = None) -> None:
        self._command = command
        self._user = user
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=self._user,
            group=self._user, extra_groups=[] if self._user else None, cwd="/", start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while not self.is_ready():
            assert self.process.poll() is None, f"{self._command[0]} ended with {self.process.returncode}"
            assert time.monotonic() < deadline, f"{self._command[0]} does not listen"
            time.sleep(0.02)

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def kill(self) -> None:
        """Kill the server and all its children, as a power failure would."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # PostgreSQL: fast shutdown
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()


def _program(name: str, *folders: Path) -> str:
    path = ":".join([*map(str, folders), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        reason = f"{name} is not installed"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}; CI needs it")
        pytest.skip(reason)
    return found


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class RedisServer(Server):
    """``with RedisServer() as server: … server.url``. It writes to disk only if `options` enable it."""

    def __init__(self, *options: str) -> None:
        port = _free_port()
        program = _program("redis-server")
        super().__init__([program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", *options], port)
        self.url = f"redis://127.0.0.1:{port}/0"

    def __enter__(self) -> RedisServer:  # noqa: PYI034 - typing has no Self on 3.10
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


class PostgresServer(Server):
    """A PostgreSQL cluster with one database; each test uses its own schema, see `url`."""

    def __init__(self, folder: Path) -> None:
        initdb = _program("initdb", *reversed(_PG))
        user = "postgres" if os.geteuid() == 0 else None
        if user is not None:
            # The parent folders belong to root, so the user postgres cannot enter them.
            folder = Path("/tmp") / f"aelyst-test-{os.getpid()}-{folder.name}"
            folder.mkdir(mode=0o755)
            shutil.chown(folder, user)
        self.folder = folder
        (folder / "password").write_text(PASSWORD)
        subprocess.run(
            [initdb, "-D", str(folder / "data"), "-U", "aelyst", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C",
             "--pwfile", str(folder / "password"), "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, user=user, group=user, extra_groups=[] if user else None, cwd="/",
        )  # fmt: skip
        port = _free_port()
        super().__init__(
            [str(Path(initdb).with_name("postgres")), "-D", str(folder / "data"), "-p", str(port), "-k", str(folder),
             "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=60", "-c", "shared_buffers=16MB"],
            port, user=user,
        )  # fmt: skip

    def is_ready(self) -> bool:
        asked = [str(Path(self._command[0]).with_name("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(asked, check=False).returncode == 0

    def kill(self) -> None:
        super().kill()
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def url(self, schema: str, **parameters: object) -> str:
        """Return the URL of a journal in this schema. `parameters` are added to the query."""
        more = "".join(f"&{name}={value}" for name, value in parameters.items())
        return f"postgresql+asyncpg://aelyst:{PASSWORD}@127.0.0.1:{self.port}/postgres?schema={schema}{more}"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    pytest.importorskip("asyncpg")
    server = PostgresServer(tmp_path_factory.mktemp("postgres"))
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Server]:
    port = _free_port()
    server = Server(
        [_program("nats-server"), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(tmp_path / "nats")], port
    )
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Server]:
    """A Redis that keeps its data when it is killed."""
    (tmp_path / "redis").mkdir()
    with RedisServer("--dir", str(tmp_path / "redis"), "--appendonly", "yes") as server:
        yield server
