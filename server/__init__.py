"""The programme: configuration, command line, REST API, and the place where the parts are put together.

It is started as `ringway`; nobody imports it, but for `server.client`, which stands on its own.
"""

__all__: list[str] = []

__version__ = "0.1.0"
