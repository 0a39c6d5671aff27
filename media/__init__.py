"""Media of calls: SDP offer/answer, RTP and RTCP, relays and players. Knows nothing of SIP."""

from .codecs import Codec
from .engine import PLAYER_CODECS, MediaConfig, MediaEngine
from .errors import MediaError, NoCommonCodec, NoPortsLeft, SdpError
from .leg import Attachment, LegStats, Media, MediaLeg, Mix, VideoStats
from .ports import rtp_ports

__all__ = [
    "PLAYER_CODECS",
    "Attachment",
    "Codec",
    "LegStats",
    "Media",
    "MediaConfig",
    "MediaEngine",
    "MediaError",
    "MediaLeg",
    "Mix",
    "NoCommonCodec",
    "NoPortsLeft",
    "SdpError",
    "VideoStats",
    "rtp_ports",
]
