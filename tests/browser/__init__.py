"""Tests with a real browser: Debian's Chromium on pages of a running server."""
