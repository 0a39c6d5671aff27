"""Transports: UDP and TCP under one `Flow`."""

from __future__ import annotations

from .base import MAX_UNRELIABLE_REQUEST, Flow, Listen, Target, host_port

__all__ = ["MAX_UNRELIABLE_REQUEST", "Flow", "Listen", "Target", "host_port"]
