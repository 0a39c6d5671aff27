"""The programme: configuration, command line, REST API, and the place where the parts are put together.

Nobody imports this package; it is started as `ringway`.
"""

__all__: list[str] = []

__version__ = "0.1.0"
