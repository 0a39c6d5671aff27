"""Summaries of what was said: the sentences of a transcript that hold most of its frequent words.

Deterministic and without a model: the same transcript gives the same text. A word counts once a sentence, small words
not at all, and a sentence is worth the mean of its words, so that long ones have no advantage (H. P. Luhn's method).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

MAX_SENTENCES = 12  # of a summary; more is no summary any more
MAX_WORDS = 500  # of a summary
SHARE = 0.2  # of the transcript's sentences that are kept, below MAX_SENTENCES
MIN_SENTENCES = 3
MAX_SENTENCE = 60  # words; recognised speech often comes without full stops, so a longer one is cut
MIN_WORDS = 4  # of a sentence that is worth quoting, when there are enough of them

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_END = re.compile(r"(?<=[.!?…])\s+")
_MARKED = re.compile(r"([\\`*_\[\]<>#|~])")

_SMALL_WORDS = """
a about after all also am an and any are aren't as at be because been before being but by can can't could did didn't
do does doesn't doing don't down each even for from get go going gonna got had has hasn't have haven't having he her
here hers him his how i i'd i'll i'm i've if in into is isn't it it's its just know let let's like me more most my no
not now of off oh ok okay on once one only or other our out over own really right said same say see she should so some
such than that that's the their them then there there's these they they're thing things think this those through to
too um uh under until up us very want was wasn't we we'd we'll we're we've well were what when where which while who
why will with won't would yeah yes you you'd you'll you're you've your yours
"""
SMALL_WORDS = frozenset(_SMALL_WORDS.split())


@dataclass(frozen=True, slots=True)
class Utterance:
    """One thing said."""

    speaker: str
    "As people call them; empty when nobody knows."
    text: str


def summarise(utterances: Sequence[Utterance], *, title: str = "") -> str:
    """A summary as Markdown, ended by a newline: a heading, who spoke, and the chosen sentences in their order."""
    sentences = [
        Utterance(utterance.speaker, _cut(sentence))
        for utterance in utterances
        for sentence in _END.split(" ".join(utterance.text.split()))
        if sentence
    ]
    speakers = list(dict.fromkeys(utterance.speaker for utterance in utterances if utterance.speaker))
    lines = [f"## {_plain(title)}" if title else "## Summary", ""]
    if speakers:
        lines += [f"Speakers: {', '.join(map(_plain, speakers))}", ""]
    for sentence in _chosen(sentences):
        name = f"{_plain(sentence.speaker)}: " if sentence.speaker else ""
        lines.append(f"- {name}{_plain(sentence.text)}")
    return "\n".join(lines) + "\n"


def _chosen(sentences: Sequence[Utterance]) -> list[Utterance]:
    words = [{word for word in _words(sentence.text) if word not in SMALL_WORDS} for sentence in sentences]
    counts = Counter(word for each in words for word in each)
    long_enough = [place for place, sentence in enumerate(sentences) if len(_words(sentence.text)) >= MIN_WORDS]
    candidates = long_enough if len(long_enough) >= MIN_SENTENCES else range(len(sentences))

    def worth(place: int) -> float:
        own = words[place]
        return sum(counts[word] for word in own) / len(own) if own else 0.0

    wanted = min(MAX_SENTENCES, max(MIN_SENTENCES, int(len(sentences) * SHARE)))
    chosen: list[int] = []
    said: set[str] = set()
    room = MAX_WORDS
    for place in sorted(candidates, key=lambda place: (-worth(place), place)):
        text = sentences[place].text
        length = len(text.split())
        if len(chosen) == wanted:
            break
        if length <= room and text.casefold() not in said:
            chosen.append(place)
            said.add(text.casefold())
            room -= length
    return [sentences[place] for place in sorted(chosen)]


def _cut(sentence: str) -> str:
    words = sentence.split()
    return sentence if len(words) <= MAX_SENTENCE else " ".join(words[:MAX_SENTENCE]) + " …"


def _words(text: str) -> list[str]:
    return [word.casefold().replace("’", "'") for word in _WORD.findall(text)]


def _plain(text: str) -> str:
    """`text` such that Markdown shows it as it is."""
    return _MARKED.sub(r"\\\1", " ".join(text.split()))
