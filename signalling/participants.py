"""Who takes part in a session, and what they say."""

from __future__ import annotations

from dataclasses import dataclass

from media import LegStats

from .rooms import Role


class Participant:
    """One stay of a user in a session: who leaves and comes back is a new one."""

    __slots__ = (
        "custom_id",
        "display_name",
        "index",
        "joined_at",
        "left_at",
        "muted",
        "preset",
        "role",
        "stats",
        "user",
    )

    def __init__(
        self,
        index: int,
        user: str,
        joined_at: float,
        *,
        display_name: str | None = None,
        custom_id: str | None = None,
        preset: str | None = None,
        role: Role = "member",
        left_at: float | None = None,
    ) -> None:
        self.index = index
        "From 0, in the order of coming."
        self.user = user
        "Id of the user, or a telephone number."
        self.joined_at = joined_at
        "Seconds since the epoch, as `left_at`."
        self.left_at = left_at
        self.display_name = display_name
        self.custom_id = custom_id
        self.preset = preset
        self.role: Role = role
        self.muted = False
        "What it says is not heard."
        self.stats: LegStats | None = None
        "What its media did, once that is over."


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """What a user said in a session."""

    index: int
    "From 0 within the session."
    id: str
    user: str
    participant: int | None
    "Index of the stay; None when the user does not take part."
    display_name: str | None
    payload_type: str
    "TEXT_MESSAGE, IMAGE_MESSAGE or FILE_MESSAGE."
    payload: str
    at: float
