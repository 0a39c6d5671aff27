"""What SDP says of a WebRTC transport (RFC 8829, 8839, 8842, 8843): ICE, DTLS, BUNDLE, and nothing we do not do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .errors import MediaError, SdpError
from .negotiation import Remote
from .sdp import MediaDescription

PROTOCOL = "UDP/TLS/RTP/SAVPF"
SECURE = frozenset({PROTOCOL, "UDP/TLS/RTP/SAVP", "RTP/SAVPF"})
"Of m= lines whose media is keyed by DTLS (RFC 5764, RFC 8834); the last one is what old browsers wrote."

MAX_CANDIDATES = 64  # of one remote party; a browser with every network and a TURN server has about 20
_TOKEN = re.compile(r"[A-Za-z0-9+/]{4,256}")
_HEX = re.compile(r"([0-9A-Fa-f]{2})(:[0-9A-Fa-f]{2}){31}")

Setup = Literal["actpass", "active", "passive"]
SETUPS: tuple[Setup, ...] = ("actpass", "active", "passive")


@dataclass(frozen=True, slots=True)
class RemoteTransport:
    """How a remote party wants to be reached."""

    ufrag: str
    password: str
    fingerprint: str
    "SHA-256 of its certificate, in hex with colons."
    setup: Setup
    mid: str | None
    candidates: tuple[str, ...]
    "Values of a=candidate."
    complete: bool
    "No more candidates will follow."
    ice_lite: bool


def read_transport(remote: Remote) -> RemoteTransport:
    """The transport of the section that we take part in. Raises SdpError, MediaError for what we cannot do."""

    tagged = _tagged(remote)

    def value(name: str) -> str | None:
        found = remote.media.first(name)
        if found is None and tagged is not None:
            found = tagged.first(name)
        if found is None:
            values = remote.description.attributes.get(name)
            found = values[0] if values else None
        return found

    ufrag, password = value("ice-ufrag"), value("ice-pwd")
    if not ufrag or not password or not _TOKEN.fullmatch(ufrag) or not _TOKEN.fullmatch(password):
        raise SdpError("a=ice-ufrag and a=ice-pwd are needed")
    if len(password) < 22:
        raise SdpError("a=ice-pwd is too short (RFC 8839 §5.4)")
    said = value("setup") or "actpass"
    setup = next((setup for setup in SETUPS if setup == said), None)
    if setup is None:
        raise MediaError(f"a=setup:{said[:16]} is not supported")
    if remote.media.first("rtcp-mux") is None:
        raise MediaError("a=rtcp-mux is needed")
    sections = [remote.media, *([tagged] if tagged is not None else [])]
    candidates = tuple(each for section in sections for each in section.attributes.get("candidate", ()))
    if len(candidates) > MAX_CANDIDATES:
        raise SdpError("too many candidates")
    return RemoteTransport(
        ufrag,
        password,
        _fingerprint(remote, tagged),
        setup,
        remote.media.first("mid"),
        candidates,
        any(section.first("end-of-candidates") is not None for section in sections),
        "ice-lite" in remote.description.attributes,
    )


def _tagged(remote: Remote) -> MediaDescription | None:
    """The section that speaks for the bundle, if it is another one than ours (RFC 8843 §8.1)."""
    mid = remote.media.first("mid")
    for group in remote.description.attributes.get("group", ()):
        semantics, *mids = group.split()
        if semantics == "BUNDLE" and mid in mids:
            for media in remote.description.media:
                if media.first("mid") == mids[0] and media is not remote.media:
                    return media
    return None


def _fingerprint(remote: Remote, tagged: MediaDescription | None) -> str:
    places = (remote.media, tagged, remote.description)
    values = next((v for place in places if place and (v := place.attributes.get("fingerprint"))), ())
    for value in values:
        algorithm, _, digest = value.strip().partition(" ")
        if algorithm.lower() == "sha-256" and _HEX.fullmatch(digest.strip()):
            return digest.strip().upper()
    raise SdpError("a=fingerprint with SHA-256 is needed")


class WebRtcTransport:
    """Our side of a transport, as SDP shows it (media.negotiation.Transport)."""

    name = PROTOCOL
    protocol = PROTOCOL
    accepts = SECURE

    def __init__(self, fingerprint: str) -> None:
        self.setup: Setup = "actpass"
        "What we say next: actpass in an offer, active or passive in an answer."
        self.mid = "0"
        "Of the audio section: ours in an offer, the remote party's in an answer."
        self._fingerprint = fingerprint
        self._ssrcs: dict[str, int] = {}
        self._cname = ""
        self._ufrag = self._password = ""
        self._candidates: tuple[str, ...] = ()

    def show(self, ufrag: str, password: str, candidates: Sequence[str]) -> None:
        """Describe this ICE agent from now on; `candidates` are values of a=candidate."""
        self._ufrag, self._password, self._candidates = ufrag, password, tuple(candidates)

    def name_streams(self, cname: str, **ssrcs: int) -> None:
        """Say by which SSRC each kind comes: without it Chromium may lose a stream when it renegotiates."""
        self._cname, self._ssrcs = cname, ssrcs

    def session_lines(self, sections: Sequence[str]) -> str:
        """One bundle of our sections: what is refused is not part of it (RFC 8843 §7.3.3)."""
        ours = (section.split("\r\n") for section in sections if section.split(" ", 2)[1] != "0")
        mids = [line.removeprefix("a=mid:") for lines in ours for line in lines if line.startswith("a=mid:")]
        return f"a=group:BUNDLE {' '.join(mids)}\r\na=msid-semantic: WMS *\r\n" if mids else ""

    def stream_lines(self, kind: str = "audio", mid: str | None = None) -> Sequence[str]:
        """ICE, DTLS and the like; the same in each section of a bundle, as any may be the first that is accepted."""
        return (
            f"a=mid:{self.mid if mid is None else mid}",
            "a=rtcp-mux",
            f"a=msid:ringway {kind}",
            f"a=ice-ufrag:{self._ufrag}",
            f"a=ice-pwd:{self._password}",
            f"a=fingerprint:sha-256 {self._fingerprint}",
            f"a=setup:{self.setup}",
            *(f"a=candidate:{candidate}" for candidate in self._candidates),
            "a=end-of-candidates",
            *([f"a=ssrc:{self._ssrcs[kind]} cname:{self._cname}"] if kind in self._ssrcs else []),
        )

    def refuse(self, media: MediaDescription) -> str:
        """Port 0, under the name that the section has."""
        lines = [f"m={media.kind} 0 {media.protocol} {media.formats[0]}", "a=inactive"]
        mid = media.first("mid")
        if mid is not None:
            lines.append(f"a=mid:{mid}")
        return "\r\n".join(lines)
