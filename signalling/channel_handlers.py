"""Which function carries out which command of the signalling channel."""

from __future__ import annotations

from collections.abc import Mapping

from . import channel_commands as commands
from . import channel_media as media
from .channel_commands import Handler
from .channel_frames import (
    Accept,
    Answer,
    Candidate,
    Chat,
    Command,
    Dial,
    End,
    HangUpCall,
    HoldCall,
    Join,
    Leave,
    Mute,
    Offer,
    PressDigits,
    Reject,
    Resume,
)

HANDLERS: Mapping[type[Command], Handler] = {
    Join: commands.join,
    Resume: commands.resume,
    Leave: commands.leave,
    End: commands.end,
    Chat: commands.chat,
    HoldCall: commands.hold,
    PressDigits: commands.dtmf,
    HangUpCall: commands.hangup,
    Mute: media.mute,
    Offer: media.offer,
    Answer: media.answer,
    Candidate: media.candidate,
    Dial: media.call,
    Accept: media.accept,
    Reject: media.reject,
}
