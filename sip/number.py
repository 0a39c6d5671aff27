"""Telephone numbers as a trunk wants them: a prefix off, E.164 or not, a prefix on (E.164, RFC 3966 §5.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from .errors import ParseError
from .grammar import decode_text, encode_text
from .uri import Uri, escape_user

__all__ = ["NumberFormat", "NumberPlan", "number_of", "user_part"]

NumberFormat = Literal["as_is", "e164", "e164_plus"]

SHORT_NUMBER_DIGITS: Final = 6
"Up to this long they are extensions, emergency numbers and short codes, which have no E.164 form."

_NUMBER = re.compile(r"\+?[0-9][0-9\-.() /]*").fullmatch
_VISUAL: Final = str.maketrans("", "", "-.() /")
_SCHEMES: Final = ("sip:", "sips:", "tel:")


def number_of(text: str) -> str:
    """The number or user part that `text` means: of a sip, sips or tel URI its `Uri.number`, else the text
    itself.

    ValueError if it is a URI by its scheme but not by its grammar.
    """
    if ":" in text and text[:5].lower().startswith(_SCHEMES):
        try:
            return decode_text(Uri.parse(encode_text(text)).number)
        except ParseError as error:
            raise ValueError(f"not a URI: {error.reason}") from None
    return text


def user_part(number: str) -> str:
    """`number` as the user part of a URI, at little cost where nothing needs an escape."""
    return number if number.isascii() and number.removeprefix("+").isalnum() else escape_user(number)


@dataclass(frozen=True, slots=True)
class NumberPlan:
    """How one trunk writes numbers."""

    number_format: NumberFormat = "as_is"
    country_code: str = ""
    national_prefix: str = "0"
    international_prefix: str = "00"
    strip_prefix: str = ""
    add_prefix: str = ""

    def international(self, number: str, steps: list[str] | None = None) -> str:
        """`number` in the plan's format. Names, short numbers and what has no country code stay as they are.

        With `steps`, what was done is appended there in words.
        """
        if self.number_format == "as_is" or not _NUMBER(number):
            return number
        digits = number.translate(_VISUAL)
        if len(digits) <= SHORT_NUMBER_DIGITS:
            return number
        if digits[0] == "+":
            digits = digits[1:]
        elif self.international_prefix and digits.startswith(self.international_prefix):
            digits = digits[len(self.international_prefix) :]
        elif self.country_code and self.national_prefix and digits.startswith(self.national_prefix):
            digits = self.country_code + digits[len(self.national_prefix) :]
        elif digits[0] == "0":
            return number  # a national number, and no country code to make more of it
        if self.number_format == "e164_plus":
            digits = "+" + digits
        if steps is not None and digits != number:
            steps.append("E.164 with +" if self.number_format == "e164_plus" else "E.164 without +")
        return digits

    def dialled(self, number: str, steps: list[str] | None = None) -> str:
        """A called number: `strip_prefix` off, `international`, `add_prefix` on."""
        strip = self.strip_prefix
        if strip and number.startswith(strip) and len(number) > len(strip):
            number = number[len(strip) :]
            if steps is not None:
                steps.append(f"prefix {strip} stripped")
        number = self.international(number, steps)
        if self.add_prefix:
            number = self.add_prefix + number
            if steps is not None:
                steps.append(f"prefix {self.add_prefix} added")
        return number
