"""Tests with real phones, SIPp and a running server."""
