"""What can go wrong with media; each error carries the SIP status that answers it."""


class MediaError(Exception):
    """Media of a call cannot be set up or changed; `status` is the SIP status to answer."""

    status = 488


class SdpError(MediaError):
    """A session description is malformed or beyond our limits."""

    status = 400


class NoCommonCodec(MediaError):
    """The offer and our policy have no codec, or no transport profile, in common."""


class NoPortsLeft(MediaError):
    """Every RTP port pair of the configured range is in use or resting."""

    status = 503
