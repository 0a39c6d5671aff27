"""Where the programs of a test meet: a private network namespace, or the machine's own loopback.

A private namespace has its own 127.0.0.0/8 and all its ports, and no way out: nothing that a
phone or the server tries to reach can leave the machine.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNET = 0x4000_0000
LOWEST_PORT, HIGHEST_PORT = 10_000, 32_000  # below the ephemeral ports (32768 and up)
_numbers = itertools.count()


def can_make_namespaces() -> bool:
    """Whether this process may create network namespaces (root, iproute2, not in a bare container)."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    try:
        Network.private().close()
    except OSError:
        return False
    return True


class Network:
    """A place to start programs and open sockets in. `name` is None for the machine's own loopback."""

    def __init__(self, name: str | None) -> None:
        self.name = name
        start = LOWEST_PORT if name else random.randrange(LOWEST_PORT, HIGHEST_PORT - 8_000, 100)
        self._next_port = start

    @classmethod
    def shared(cls) -> Network:
        """The machine's loopback; ports are tried before they are handed out."""
        return cls(None)

    @classmethod
    def private(cls) -> Network:
        """A new namespace with `lo` up. Raises OSError where that is not allowed."""
        name = f"ringway-{os.getpid()}-{next(_numbers)}"
        try:
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        except subprocess.CalledProcessError as error:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
            raise OSError(error.stderr.decode(errors="replace")) from error
        return cls(name)

    def close(self) -> None:
        """Remove the namespace. Programs in it must have ended before."""
        if self.name:
            _run("ip", "netns", "del", self.name)
            self.name = None

    def command(self, arguments: list[str]) -> list[str]:
        """The command line that runs `arguments` here; the program dies with the test process."""
        if shutil.which("setpriv"):
            arguments = ["setpriv", "--pdeathsig", "KILL", "--", *arguments]
        return ["ip", "netns", "exec", self.name, *arguments] if self.name else arguments

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets that this thread opens inside the block belong to this network."""
        if self.name is None:
            yield
            return
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _set_namespace(f"/run/netns/{self.name}")
            try:
                yield
            finally:
                _set_namespace_fd(own)
        finally:
            os.close(own)

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket of this network."""
        with self.entered():
            return socket.socket(family, kind, protocol)

    def ports(self, count: int = 1, address: str = "127.0.0.1") -> int:
        """The first of `count` ports in a row that nothing uses, on UDP and TCP alike."""
        while self._next_port + count < HIGHEST_PORT:
            first = self._next_port
            self._next_port += count + count % 2
            if all(self._is_free(address, port) for port in range(first, first + count)):
                return first
        raise OSError("no free ports left")

    def _is_free(self, address: str, port: int) -> bool:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with self.socket(socket.AF_INET, kind) as probe:
                try:
                    probe.bind((address, port))
                except OSError:
                    return False
        return True


def _run(*arguments: str) -> None:
    subprocess.run(arguments, check=True, capture_output=True, timeout=10)


def _set_namespace(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _set_namespace_fd(descriptor)
    finally:
        os.close(descriptor)


def _set_namespace_fd(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
