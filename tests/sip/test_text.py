"""Text on its way into headers (G7)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.text import refuse_controls, without_controls


@pytest.mark.parametrize("code", [*range(32), *range(127, 160), 0x2028, 0x2029, 0xD800, 0xDFFF])
def test_g7_every_control_is_refused_and_replaced(code: int) -> None:
    with pytest.raises(ValueError, match=r"^caller: control characters$"):
        refuse_controls("caller", f"a{chr(code)}b")
    assert without_controls(f"{chr(code)}a{chr(code)}b{chr(code)}") == "a b"


@pytest.mark.parametrize("text", ["", "Alice", "Zoë Ünal", "\u00a0no-break", "日本語", "😀", '"\\<>'])
def test_g7_other_text_is_left_alone(text: str) -> None:
    refuse_controls("caller", text)
    assert without_controls(text) == text


@given(st.text(st.characters()))
def test_g7_what_was_cleaned_passes(text: str) -> None:
    refuse_controls("caller", without_controls(text))
