"""Talks to a stack's supervisord: XML-RPC over its Unix socket."""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackctl.errors import StackctlError

TIMEOUT = 30.0


@dataclass(frozen=True)
class ProcessState:
    """One program as supervisord sees it.

    Attributes:
        name: the program's name.
        state: supervisor's word: STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL or UNKNOWN.
        pid: its process, or 0.
        detail: why it does not run, or nothing.
        exit_status: of its last run (0 before its first end).
    """

    name: str
    state: str
    pid: int
    detail: str
    exit_status: int


@dataclass(frozen=True)
class Description:
    """What supervisord was started with, and how often it restarted each service."""

    fingerprint: str
    python: str
    restarts: dict[str, int]


class NotRunning(StackctlError):
    """No supervisord answers at the socket."""


class SupervisorClient:
    """The calls that the local engine needs.

    Args:
        socket_path: the Unix socket of ``[unix_http_server]``.
    """

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path
        self._proxy = xmlrpc.client.ServerProxy("http://supervisor", transport=_UnixTransport(socket_path))

    def answers(self) -> bool:
        """Return whether a supervisord answers and is not on its way down."""
        if not self._socket_path.exists():
            return False
        try:
            return bool(self._call("supervisor.getState")["statename"] == "RUNNING")
        except NotRunning:
            return False

    def pid(self) -> int:
        """Return supervisord's process."""
        return int(self._call("supervisor.getPID"))

    def describe(self) -> Description:
        """Return the fingerprint, the services' interpreter and the restarts."""
        answer = self._call("stackctl.describe")
        return Description(answer["fingerprint"], answer["python"], dict(answer["restarts"]))

    def processes(self) -> dict[str, ProcessState]:
        """Return every program by its name."""
        return {
            item["name"]: ProcessState(
                item["name"], item["statename"], item["pid"], item["spawnerr"] or "", item["exitstatus"]
            )
            for item in self._call("supervisor.getAllProcessInfo")
        }

    def start(self, name: str) -> None:
        """Ask for a program's start and return at once; its restarts count from 0."""
        self._call("stackctl.forget", name)
        self._call("supervisor.startProcess", name, False)

    def stop(self, name: str) -> None:
        """Stop a program, and return once it has ended."""
        self._call("supervisor.stopProcess", name, True)

    def shutdown(self) -> None:
        """Ask supervisord to stop everything and itself; returns at once."""
        self._call("supervisor.shutdown")

    def _call(self, method: str, *arguments: object) -> Any:
        try:
            return getattr(self._proxy, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise StackctlError(f"supervisord refused {method}: {fault.faultString}") from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise NotRunning(f"supervisord does not answer at {self._socket_path}.", "Run `stackctl up`.") from error


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:  # noqa: ARG002 - the signature is the library's
        return _UnixConnection(self._path)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(str(self._path))
