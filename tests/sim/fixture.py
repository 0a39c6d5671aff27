"""What a test in virtual time starts from."""

from __future__ import annotations

from .clock import Clock
from .network import Network
from .phones import SimPhone


class Sim(Clock):
    """A clock and a network. Phones made by `phone` are looked at when the test ends: see `close`."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Network(self)
        self.phones: list[SimPhone] = []

    def phone(
        self,
        name: str,
        user: str = "",
        password: str = "",
        *,
        server: str = "ringway",
        port: int = 5060,
        transport: str = "UDP",
    ) -> SimPhone:
        """A phone on a host of its own; `server` is the host it registers at and calls through."""
        phone = SimPhone(
            self.network, name, user=user, password=password, server=server, port=port, transport=transport
        )
        self.phones.append(phone)
        return phone

    def close(self) -> None:
        """Close the loop; AssertionError when a phone got something that a careful peer would object to."""
        super().close()
        for phone in self.phones:
            assert not phone.faults, f"{phone.name}: {phone.faults}"
