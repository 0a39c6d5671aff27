"""Summaries: which sentences, and how they are written."""

from __future__ import annotations

from server.summary import MAX_SENTENCE, MAX_SENTENCES, MAX_WORDS, Utterance, summarise

TALK = [
    Utterance("Ann", "Good morning. Let us talk about the release of the server."),
    Utterance("Ben", "Um, yes. The release of the server needs the database migration."),
    Utterance("Ann", "My cat is ill."),
    Utterance("Ben", "The database migration takes an hour, so the release starts at noon."),
    Utterance("Ann", "Fine. Who feeds the ducks?"),
]


def chosen(text: str) -> list[str]:
    return [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]


def test_frequent_words_choose_the_sentences_and_their_order_stays() -> None:
    assert summarise(TALK, title="Release") == (
        "## Release\n\nSpeakers: Ann, Ben\n\n"
        "- Ann: Let us talk about the release of the server.\n"
        "- Ben: The release of the server needs the database migration.\n"
        "- Ben: The database migration takes an hour, so the release starts at noon.\n"
    )


def test_the_same_talk_gives_the_same_summary() -> None:
    assert summarise(TALK) == summarise(list(TALK))


def test_a_long_talk_becomes_short() -> None:
    talk = [
        Utterance("Ann", f"Point number {number} concerns the matter {number % 7} again.") for number in range(1000)
    ]
    text = summarise(talk)
    assert len(chosen(text)) == MAX_SENTENCES
    assert len(text.split()) < MAX_WORDS


def test_speech_without_full_stops_is_cut() -> None:
    text = summarise([Utterance("Ann", "word " * 5000)])
    (sentence,) = chosen(text)
    assert sentence.endswith(" …")
    assert len(sentence.split()) <= MAX_SENTENCE + 2


def test_what_is_said_twice_is_told_once() -> None:
    text = summarise([Utterance("", "The server is down now."), Utterance("", "the server is DOWN now.")])
    assert chosen(text) == ["The server is down now."]


def test_markdown_of_others_is_text() -> None:
    text = summarise([Utterance("A*n*n", "Look at [this](http://x) <b>now</b>.")], title="# `x`\n## y")
    assert text.startswith("## \\# \\`x\\` \\#\\# y\n")
    assert "- A\\*n\\*n: Look at \\[this\\](http://x) \\<b\\>now\\</b\\>." in text


def test_small_words_and_silence_still_make_a_summary() -> None:
    assert chosen(summarise([Utterance("Ann", "Yes. No. Well.")])) == ["Ann: Yes.", "Ann: No.", "Ann: Well."]
    assert summarise([]) == "## Summary\n\n"


def test_other_scripts_have_words_too() -> None:
    talk = [Utterance("李", "服务器 今天 发布。"), Utterance("Ö", "Die Übergabe der Schlüssel erfolgt morgen früh.")]
    assert len(chosen(summarise(talk))) == 2
