"""The RealtimeKit dialect over real HTTP, with real sessions and a real database (conformance E1-E26)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from media import VideoStats
from server.api.session_files import iso
from server.artefacts import MAX_JOBS, Artefacts
from server.sections import Config
from signalling import (
    Channel,
    ChatSynced,
    Happening,
    Session,
    SummaryReady,
    TranscriptReady,
    peer_of,
    session_id_of,
    short_of_session,
    uuid_of_channel,
    uuid_of_peer,
    uuid_of_session,
)

from .house import ACCOUNT, APP, OTHER_TENANT, TENANT, House, open_house

BASE = f"/accounts/{ACCOUNT}/realtime/kit/{APP}"
SESSIONS = f"{BASE}/sessions"
MEETINGS = f"{BASE}/meetings"

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
REQUIRED = {
    "id", "associated_id", "created_at", "live_participants", "max_concurrent_participants", "meeting_display_name",
    "minutes_consumed", "organization_id", "started_at", "status", "type", "updated_at",
}  # fmt: skip
OPTIONAL = {"breakout_rooms", "ended_at", "meta"}


@pytest.fixture
async def house(tmp_path: Path, database_url: str) -> AsyncIterator[House]:
    """A whole server, on each kind of database."""
    async for house in open_house(tmp_path, database_url=database_url):
        yield house


def room(house: House, name: str = "Weekly") -> Channel:
    return house.registry.rooms.create(TENANT, name)


def sitting(house: House, name: str = "Weekly", host: str | None = "alice", **fields: Any) -> Session:
    return house.session(host, channel=room(house, name), **fields)


def aged(session: Session, minutes: float) -> Session:
    """As if everybody had come `minutes` earlier."""
    for participant in session.participants:
        participant.joined_at -= minutes * 60
    return session


async def listed(house: House, query: str = "", token: str = "admin") -> list[str]:
    status, body = await house.get(f"{SESSIONS}{query}", token=token)
    assert status == 200, body
    return [item["meeting_display_name"] for item in body["data"]["sessions"]]


async def talked(house: House, session: Session, *sentences: str) -> None:
    """Store a transcript, spoken by the first participant."""
    spoken = [
        {"startTime": 1000 * at, "endTime": 1000 * at + 900, "sentence": text, "peerData": {"id": peer(session)}}
        for at, text in enumerate(sentences)
    ]
    status, body = await house.post(f"{SESSIONS}/{session.id}/transcript", spoken, token="admin")
    assert status == 200, body


def peer(session: Session, index: int = 0) -> str:
    return uuid_of_peer(session.id, index)


# The list.


async def test_e1_every_parameter_of_the_list_is_taken(house: House) -> None:
    session = sitting(house)
    query = (
        "?page_no=1&per_page=5&sort_by=createdAt&sort_order=ASC&start_time=2020-01-01T00:00:00Z"
        f"&end_time=2100-01-01T00:00:00.000Z&participants=alice&status=LIVE&search=week&associated_id={session.channel_id}"
    )
    assert await listed(house, query) == ["Weekly"]


@pytest.mark.parametrize(
    "query",
    [
        "?page_no=-1", "?per_page=-1", "?page_no=x", "?sort_by=name", "?sort_order=asc", "?status=live",
        "?start_time=yesterday", "?end_time=25", "?page_no=1&page_no=2", "?search=%00",
        "?participants=" + ",".join(["x"] * 101),
    ],
)  # fmt: skip
async def test_e1_a_wrong_parameter_is_refused(house: House, query: str) -> None:
    status, body = await house.get(f"{SESSIONS}{query}", token="admin")
    assert status == 400
    assert body["success"] is False
    assert body["errors"][0]["message"].startswith("BAD_REQUEST: ")


async def test_e1_status_tells_live_from_ended(house: House) -> None:
    await sitting(house, "over").end()
    sitting(house, "on")
    assert await listed(house, "?status=LIVE") == ["on"]
    assert await listed(house, "?status=ENDED") == ["over"]
    assert sorted(await listed(house)) == ["on", "over"]


async def test_e1_search_finds_title_meeting_and_session(house: House) -> None:
    sales, other = sitting(house, "Sales % _call"), sitting(house, "Daily")
    assert await listed(house, "?search=sAlEs") == ["Sales % _call"]
    assert await listed(house, "?search=%25") == ["Sales % _call"]
    assert await listed(house, "?search=_c") == ["Sales % _call"]
    assert await listed(house, '?search="%20OR') == []
    assert await listed(house, f"?search={other.channel_id}") == ["Daily"]
    for form in (sales.id, uuid_of_session(sales.id), short_of_session(sales.id)):
        assert await listed(house, f"?search={form}") == ["Sales % _call"]
    assert await listed(house, "?search=monthly") == []


async def test_e1_associated_id_is_the_meeting(house: House) -> None:
    first, _ = sitting(house, "a"), sitting(house, "b")
    assert await listed(house, f"?associated_id={first.channel_id.upper()}") == ["a"]
    assert await listed(house, f"?associated_id={uuid4()}") == []


async def test_e1_sorts_both_ways_by_creation_and_minutes(house: House) -> None:
    short, long_, over = sitting(house, "short"), sitting(house, "long"), sitting(house, "over")
    aged(short, 1)
    aged(long_, 30)
    aged(over, 10)
    await over.end()
    for session in (short, long_):
        session.emit(ChatSynced, messages=0)  # written again
    assert await listed(house) == ["over", "long", "short"]
    assert await listed(house, "?sort_order=ASC") == ["short", "long", "over"]
    assert await listed(house, "?sort_by=minutesConsumed") == ["long", "over", "short"]
    assert await listed(house, "?sort_by=minutesConsumed&sort_order=ASC") == ["short", "over", "long"]
    assert await listed(house, "?sort_by=minutesConsumed&per_page=1&page_no=2") == ["over"]
    assert await listed(house, "?sort_by=minutesConsumed&per_page=1&page_no=3") == ["short"]


async def test_e2_a_page_says_where_it_is_in_an_exact_total(house: House) -> None:
    for number in range(7):
        sitting(house, f"m{number}")
    status, body = await house.get(f"{SESSIONS}?per_page=3&page_no=2", token="admin")
    assert status == 200
    assert set(body) == {"success", "data", "paging"}
    assert body["success"] is True
    assert body["paging"] == {"start_offset": 4, "end_offset": 6, "total_count": 7}
    assert [item["meeting_display_name"] for item in body["data"]["sessions"]] == ["m3", "m2", "m1"]
    _, last = await house.get(f"{SESSIONS}?per_page=3&page_no=3", token="admin")
    assert last["paging"] == {"start_offset": 7, "end_offset": 7, "total_count": 7}
    _, beyond = await house.get(f"{SESSIONS}?per_page=3&page_no=4", token="admin")
    assert beyond["paging"] == {"start_offset": 0, "end_offset": 0, "total_count": 7}
    assert beyond["data"]["sessions"] == []


async def test_e2_pages_join_to_the_whole_list_in_either_order(house: House) -> None:
    for number in range(11):
        await aged(sitting(house, f"m{number:02d}"), number % 4).end()
    for query in ("sort_by=createdAt", "sort_by=minutesConsumed"):
        for order in ("ASC", "DESC"):
            whole = await listed(house, f"?{query}&sort_order={order}")
            pages = []
            for page in range(1, 7):
                pages += await listed(house, f"?{query}&sort_order={order}&per_page=2&page_no={page}")
            assert pages == whole
            assert len(set(whole)) == 11


# One session.


async def test_e3_a_session_has_exactly_the_documents_keys(house: House) -> None:
    live = sitting(house, meta={"topic": "tea"})
    over = house.session()
    await over.end()
    for session, more in ((live, {"meta"}), (over, {"ended_at"})):
        _, body = await house.get(f"{SESSIONS}/{session.id}")
        item = body["data"]
        assert set(item) == REQUIRED | more
        assert item["id"] == uuid_of_session(session.id)
        UUID(item["associated_id"])
        assert item["organization_id"] == APP
        for name in ("created_at", "started_at", "updated_at", *({"ended_at"} & more)):
            assert ISO.fullmatch(item[name]), name
    assert (await house.get(f"{SESSIONS}/{live.id}"))[1]["data"]["meta"] == {"topic": "tea"}


async def test_e3_numbers_of_participants_are_true(house: House) -> None:
    session = sitting(house)
    session.join("bob")
    session.join("carol")
    session.leave("bob")
    _, body = await house.get(f"{SESSIONS}/{session.id}")
    item = body["data"]
    assert (item["live_participants"], item["max_concurrent_participants"], item["status"]) == (2, 3, "LIVE")
    await session.end()
    item = (await house.get(f"{SESSIONS}/{session.id}"))[1]["data"]
    assert (item["live_participants"], item["max_concurrent_participants"], item["status"]) == (0, 3, "ENDED")


async def test_e4_details_are_flat_and_found_by_any_form_of_the_id(house: House) -> None:
    session = house.session(name="Talk")
    for form in (session.id, uuid_of_session(session.id), short_of_session(session.id)):
        status, body = await house.get(f"{SESSIONS}/{form}")
        assert status == 200
        assert set(body) == {"success", "data"}
        assert body["data"]["meeting_display_name"] == "Talk"
        assert body["data"]["associated_id"] == uuid_of_channel(session.id)


async def test_e4_breakout_rooms_are_the_sessions_it_was_split_into(house: House) -> None:
    whole, part = sitting(house, "whole"), sitting(house, "part", host="bob")
    part.parent_id = whole.id
    part.emit(ChatSynced, messages=0)
    _, body = await house.get(f"{SESSIONS}/{whole.id}?include_breakout_rooms=true")
    assert [item["meeting_display_name"] for item in body["data"]["breakout_rooms"]] == ["part"]
    assert set(body["data"]["breakout_rooms"][0]) >= REQUIRED
    assert "breakout_rooms" not in (await house.get(f"{SESSIONS}/{whole.id}"))[1]["data"]


# Participants.


async def test_e5_participants_are_listed_searched_sorted_and_paged(house: House) -> None:
    session = sitting(house)
    session.join("bob", display_name="Robert", custom_id="emp-7")
    session.join("carol")
    session.participants[1].joined_at -= 300
    path = f"{SESSIONS}/{session.id}/participants"

    async def users(query: str = "") -> list[str]:
        status, body = await house.get(path + query)
        assert status == 200, body
        return [item["user_id"] for item in body["data"]["participants"]]

    assert await users() == ["bob", "alice", "carol"]
    assert await users("?sort_order=DESC") == ["carol", "alice", "bob"]
    assert (await users("?sort_by=duration&sort_order=DESC"))[0] == "bob"
    assert await users("?search=robe") == ["bob"]
    assert await users("?search=EMP-7") == ["bob"]
    assert await users(f"?search={peer(session, 2)[-12:]}") == ["carol"]
    assert await users("?per_page=2&page_no=2") == ["carol"]
    _, body = await house.get(f"{path}?per_page=2&page_no=2")
    assert body["data"]["paging"] == {"start_offset": 3, "end_offset": 3, "total_count": 3}
    for wrong in ("?sort_by=name", "?view=both", "?include_peer_events=maybe"):
        assert (await house.get(path + wrong))[0] == 400


async def test_e5_a_consolidated_view_counts_breakout_rooms(house: House) -> None:
    whole = aged(sitting(house, "whole"), 2)
    part = aged(sitting(house, "part"), 5)
    part.parent_id = whole.id
    await part.end()
    path = f"{SESSIONS}/{whole.id}/participants"
    raw = (await house.get(path))[1]["data"]["participants"][0]["duration"]
    both = (await house.get(f"{path}?view=consolidated"))[1]["data"]["participants"][0]["duration"]
    assert 2 <= raw < 2.5
    assert 7 <= both < 7.5


async def test_e6_a_participant_has_the_documents_keys(house: House) -> None:
    session = sitting(house)
    session.join("bob", display_name="Robert", custom_id="emp-7", preset="webinar_participant")
    aged(session, 5.8097)
    session.leave("bob")
    _, body = await house.get(f"{SESSIONS}/{session.id}/participants")
    alice, bob = body["data"]["participants"]
    assert set(bob) == {
        "id", "created_at", "custom_participant_id", "display_name", "duration", "joined_at", "left_at",
        "preset_name", "updated_at", "user_id",
    }  # fmt: skip
    assert bob["id"] == peer(session, 1)
    assert peer_of(bob["id"]) == (session.id, 1)
    assert (bob["custom_participant_id"], bob["display_name"], bob["user_id"]) == ("emp-7", "Robert", "bob")
    assert bob["preset_name"] == "webinar_participant"
    assert bob["duration"] == pytest.approx(5.8097, abs=0.01)
    assert bob["duration"] != int(bob["duration"])
    assert ISO.fullmatch(bob["joined_at"])
    assert ISO.fullmatch(bob["left_at"])
    assert alice["custom_participant_id"] == "alice"


async def test_e7_one_participant_is_wrapped(house: House) -> None:
    session = sitting(house)
    path = f"{SESSIONS}/{uuid_of_session(session.id)}/participants"
    status, body = await house.get(f"{path}/{peer(session)}")
    assert status == 200
    assert set(body["data"]) == {"participant"}
    assert body["data"]["participant"]["user_id"] == "alice"
    assert "peer_events" not in body["data"]["participant"]
    other = sitting(house, "other")
    for unknown in (peer(session, 5), peer(other), str(uuid4()), "alice"):
        status, body = await house.get(f"{path}/{unknown}")
        assert (status, body["success"]) == (404, False)


async def test_e8_peer_events_come_on_request(house: House) -> None:
    session = aged(sitting(house), 3)
    session.join("bob")
    session.leave("alice")
    path = f"{SESSIONS}/{session.id}/participants"
    _, body = await house.get(f"{path}/{peer(session)}?include_peer_events=true")
    events = body["data"]["participant"]["peer_events"]
    assert [event["event_name"] for event in events] == ["PEER_CREATED", "PEER_JOINING", "PEER_LEAVING"]
    for event in events:
        assert set(event) == {
            "id", "created_at", "event_name", "minutes_consumed", "participant_id", "peer_id",
            "preset_view_type", "session_id", "socket_session_id", "updated_at",
        }  # fmt: skip
        assert event["peer_id"] == peer(session)
        assert event["session_id"] == uuid_of_session(session.id)
        UUID(event["id"])
    assert len({event["id"] for event in events}) == 3
    assert events[2]["minutes_consumed"] == pytest.approx(3, abs=0.01)
    _, body = await house.get(f"{path}?include_peer_events=true")
    assert [len(item["peer_events"]) for item in body["data"]["participants"]] == [3, 2]


# Chat, transcript, summary: the links. What lies behind them: test_downloads.


async def test_e9_chat_answers_with_a_link_and_its_expiry(house: House) -> None:
    session = sitting(house)
    status, body = await house.get(f"{SESSIONS}/{session.id}/chat")
    assert status == 200
    assert set(body["data"]) == {"chat_download_url", "chat_download_url_expiry"}
    assert body["data"]["chat_download_url"].startswith("http://127.0.0.1:")
    assert ISO.fullmatch(body["data"]["chat_download_url_expiry"])


async def test_e10_transcript_answers_with_a_link(house: House) -> None:
    session = sitting(house)
    await talked(house, session, "Hello everyone")
    for form in ("", "?format=CSV", "?format=JSON", "?format=SRT", "?format=VTT"):
        status, body = await house.get(f"{SESSIONS}/{session.id}/transcript{form}")
        assert status == 200
        assert set(body["data"]) == {"sessionId", "transcript_download_url", "transcript_download_url_expiry"}
        assert body["data"]["sessionId"] == uuid_of_session(session.id)
        assert f".{form[-4:].strip('=').lower() or 'csv'}?" in body["data"]["transcript_download_url"]
    assert (await house.get(f"{SESSIONS}/{session.id}/transcript?format=PDF"))[0] == 400


async def test_e10_a_wrong_transcript_is_refused(house: House) -> None:
    session, other = sitting(house), sitting(house, "other")
    path = f"{SESSIONS}/{session.id}/transcript"
    good = {"startTime": 0, "endTime": 5, "sentence": "x"}
    wrongs: list[object] = [
        [],
        {},
        [{**good, "endTime": -1}],
        [{**good, "startTime": "0"}],
        [{**good, "sentence": ""}],
        [{**good, "sentence": "a\0b"}],
        [good] * 501,
    ]
    for wrong in wrongs:
        status, body = await house.post(path, wrong, token="admin")
        assert status in (400, 413), wrong
        assert body["success"] is False
    for stranger in (peer(other), peer(session, 9), "alice"):
        status, body = await house.post(path, [{**good, "peerData": {"id": stranger}}], token="admin")
        assert (status, body["success"]) == (404, False)
    assert (await house.get(path))[0] == 404
    assert (await house.post(path, [good], token="bob"))[0] == 403


async def test_e10_a_transcript_is_replaced_or_continued(house: House) -> None:
    session = sitting(house)
    path = f"{SESSIONS}/{session.id}/transcript"
    sentence = {"startTime": 0, "endTime": 5, "sentence": "x"}
    counts = []
    for query in ("", "?append=true", "?append=true", ""):
        _, body = await house.post(path + query, [sentence, sentence], token="admin")
        counts.append(body["data"]["sentences"])
    assert counts == [2, 4, 6, 2]


async def test_e11_summary_answers_in_camel_case(house: House) -> None:
    heard = follow(house)
    session = sitting(house)
    await talked(house, session, "We ship on Friday.", "The tests of the shipment pass.", "Good.")
    assert (await house.post(f"{SESSIONS}/{session.id}/summary"))[0] == 200
    await house.until(lambda: SummaryReady in heard)
    status, body = await house.get(f"{SESSIONS}/{session.id}/summary")
    assert status == 200
    assert set(body["data"]) == {"sessionId", "summaryDownloadUrl", "summaryDownloadUrlExpiry"}
    assert body["data"]["sessionId"] == uuid_of_session(session.id)
    assert ISO.fullmatch(body["data"]["summaryDownloadUrlExpiry"])


async def test_e12_a_summary_needs_a_transcript_and_is_made_once(house: House) -> None:
    session = sitting(house)
    path = f"{SESSIONS}/{session.id}/summary"
    status, body = await house.post(path)
    assert (status, body["success"]) == (409, False)
    heard = follow(house)
    await talked(house, session, "One thing.", "Another thing about that thing.")
    first = await house.post(path)
    second = await house.post(path)
    assert first[0] == second[0] == 200
    assert set(first[1]) == {"success", "data"}
    assert first[1]["data"] == {"session_id": uuid_of_session(session.id), "status": "IN_PROGRESS"}
    assert second[1]["data"]["status"] in ("IN_PROGRESS", "COMPLETED")
    await house.until(lambda: SummaryReady in heard)
    assert (await house.post(path))[1]["data"]["status"] == "COMPLETED"
    assert heard.count(SummaryReady) == 1
    await talked(house, session, "Something else altogether.")
    assert (await house.get(path))[0] == 404, "it was of another transcript"
    assert (await house.post(path))[1]["data"]["status"] == "IN_PROGRESS"
    await house.until(lambda: heard.count(SummaryReady) == 2)


async def test_e12_summaries_in_the_making_are_bounded(house: House) -> None:
    session = sitting(house)
    await talked(house, session, "A sentence.")
    owners: list[Any] = [getattr(stop, "__self__", None) for stop in house.services.at_stop]
    (jobs,) = [cast(dict[str, Any], owner._jobs) for owner in owners if isinstance(owner, Artefacts)]
    for number in range(MAX_JOBS):
        jobs[str(number)] = None
    status, body = await house.post(f"{SESSIONS}/{session.id}/summary")
    jobs.clear()
    assert (status, body["success"]) == (503, False)


# Peers.


async def test_e13_a_peer_is_flat_with_no_other_keys(house: House) -> None:
    session = aged(sitting(house), 1)
    session.join("bob")
    session.leave("alice")
    status, body = await house.get(f"{SESSIONS}/peer-report/{peer(session)}")
    assert status == 200
    assert set(body) == {"success", "data"}
    assert set(body["data"]) == {
        "id", "created_at", "custom_participant_id", "display_name", "duration", "joined_at", "left_at",
        "peer_events", "peer_report", "preset_name", "session_id", "updated_at", "user_id",
    }  # fmt: skip
    assert set(body["data"]["peer_report"]) == {"metadata", "quality"}
    UUID(body["data"]["session_id"])
    _, body = await house.get(f"{SESSIONS}/peer-report/{peer(session)}?include_peer_events=false")
    assert "peer_events" not in body["data"]


async def test_e13_filters_choose_parts_of_the_report(house: House) -> None:
    session = sitting(house)
    path = f"{SESSIONS}/peer-report/{peer(session)}"

    async def metadata(query: str) -> set[str]:
        status, body = await house.get(path + query)
        assert status == 200
        return set(body["data"]["peer_report"]["metadata"])

    assert await metadata("") == {"room_view_type", "sdk_name", "events"}
    assert await metadata("?filters=events") == {"room_view_type", "events"}
    assert await metadata("?filters=device_info,quality_stats") == {"room_view_type", "sdk_name"}
    assert await metadata("?filters=ip_information,precall_network_information") == {"room_view_type"}
    for wrong in ("?filters=all", "?filters=events,%20device_info", "?filters="):
        assert (await house.get(path + wrong))[0] == 400


async def called(house: House) -> Session:
    """A call between two phones, over, with the counters that its media had."""
    for number in ("1001", "1002"):
        phone = await house.phone(number)
        phone.script.answer_after_s = 0.0
    _, body = await house.post("/api/sessions", {"caller": "1001", "callee": "1002", "send_sdp": True}, token="admin")
    session = house.registry.get(body["id"])
    assert session is not None
    await house.until(lambda: session.call.answered is not None)
    return session


async def test_e14_metadata_tells_what_happened_to_the_peer(house: House) -> None:
    session = await called(house)
    _, body = await house.get(f"{SESSIONS}/peer-report/{peer(session)}", token="admin")
    metadata = body["data"]["peer_report"]["metadata"]
    assert metadata["sdk_name"] == "sip"
    assert metadata["room_view_type"] == "GROUP_CALL"
    assert "participant.joined" in [event["name"] for event in metadata["events"]]
    for event in metadata["events"]:
        assert set(event) == {"name", "timestamp", "metadata"}
        assert ISO.fullmatch(event["timestamp"])
        assert not {"caller", "callee", "payload", "user", "display_name"} & set(event["metadata"])
    pair = metadata["candidate_pairs"]["producing_transport"][0]
    assert {"packets_received", "packets_sent", "bytes_received", "bytes_sent", "nominated"} <= set(pair)
    assert "local_candidate_address" in pair
    _, body = await house.get(f"{SESSIONS}/peer-report/{peer(session)}", token="viewer")
    seen = str(body["data"]["peer_report"])
    assert "address" not in seen
    assert "ip_information" not in seen


async def test_e15_quality_is_made_of_the_counters_of_media(house: House) -> None:
    session = await called(house)
    await session.end()
    _, body = await house.get(f"{SESSIONS}/peer-report/{peer(session)}", token="admin")
    quality = body["data"]["peer_report"]["quality"]
    assert set(quality) == {
        "audio_producer", "audio_producer_cumulative", "audio_consumer", "audio_consumer_cumulative",
    }  # fmt: skip
    (producer,) = quality["audio_producer"]
    assert {"bytes_sent", "packets_sent", "packets_lost", "jitter", "mos_quality", "producer_id", "timestamp"} <= set(
        producer
    )
    cumulative = quality["audio_producer_cumulative"]
    assert set(cumulative["packet_loss"]) == {
        "avg", *(f"{step}_or_greater_event_fraction" for step in (5, 10, 25, 50)),
    }  # fmt: skip
    assert set(cumulative["quality_mos"]) == {"avg", "p50", "p75", "p90"}
    assert 1 <= cumulative["quality_mos"]["avg"] <= 4.5


async def test_e15_quality_has_the_video_that_there_was(house: House) -> None:
    session = await called(house)
    for leg in house.media.legs:
        leg.stats = replace(leg.stats, video=VideoStats(packets_sent=10, packets_received=90, packets_lost=10))
    for ended in (False, True):
        if ended:
            await session.end()
        _, body = await house.get(f"{SESSIONS}/peer-report/{peer(session)}", token="admin")
        (producer,) = body["data"]["peer_report"]["quality"]["video_producer"]
        assert (producer["packets_sent"], producer["packets_lost"]) == (100, 10)


# Whose they are.


async def test_e16_what_is_not_there_or_of_another_tenant_is_404(house: House) -> None:
    mine, theirs = sitting(house), house.session(host=None, tenant=OTHER_TENANT)
    theirs.join("oscar")
    other = OTHER_TENANT.split("/")
    elsewhere = f"/accounts/{other[0]}/realtime/kit/{other[1]}"
    paths = ("", "/participants", "/chat", "/transcript", "/summary", f"/participants/{peer(theirs)}")
    for tail in paths:
        for path in (
            f"{SESSIONS}/{theirs.id}{tail}",
            f"{SESSIONS}/{uuid_of_session('1801439850948198400')}{tail}",
            f"{SESSIONS}/nonsense{tail}",
            f"{elsewhere}/sessions/{theirs.id}{tail}",
            f"/accounts/{ACCOUNT}/realtime/kit/x/sessions/{mine.id}{tail}",
        ):
            status, body = await house.get(path, token="admin")
            assert (status, body["success"], len(body["errors"])) == (404, False, 1), path
    assert (await house.get(f"{SESSIONS}/peer-report/{peer(theirs)}", token="admin"))[0] == 404
    assert (await house.get(f"{elsewhere}/sessions", token="admin"))[0] == 404
    assert (await house.get(f"{elsewhere}/sessions/{theirs.id}", token="other"))[0] == 200
    assert await listed(house) == ["Weekly"]


async def test_e16_an_account_has_at_most_32_characters(house: House) -> None:
    status, body = await house.get(f"/accounts/{'a' * 33}/realtime/kit/{APP}/sessions")
    assert (status, body["success"]) == (400, False)
    assert (await house.get(f"/accounts/{'a' * 32}/realtime/kit/{APP}/sessions"))[0] == 404


async def test_e16_requests_are_counted_where_configured(tmp_path: Any) -> None:
    config = Config.model_validate({"api": {"requests_per_10_s": 3}})
    async for house in open_house(tmp_path, config=config):
        assert [(await house.get(SESSIONS))[0] for _ in range(3)] == [200] * 3
        status, body, response = await house.call("GET", SESSIONS)
        assert (status, body["success"]) == (429, False)
        assert 1 <= int(response.headers["Retry-After"]) <= 10
        assert (await house.get(SESSIONS, token="bob"))[0] == 200
        assert (await house.get("/api/sessions"))[0] == 200


def follow(house: House) -> list[type]:
    heard: list[type] = []

    def hear(happening: Happening) -> None:
        heard.append(happening.kind)

    house.registry.bus.follow(hear)
    return heard


async def test_e17_chat_transcript_and_summary_are_announced(house: House) -> None:
    heard = follow(house)
    session = sitting(house)
    session.say("alice", "hello")
    await talked(house, session, "Hello everyone")
    assert heard.count(TranscriptReady) == 1
    await house.post(f"{SESSIONS}/{session.id}/summary")
    await house.until(lambda: SummaryReady in heard)
    assert ChatSynced not in heard
    await session.end()
    await house.until(lambda: ChatSynced in heard)
    silent = sitting(house, "silent")
    await silent.end()
    assert heard.count(ChatSynced) == 1


# Readings of ours.


async def test_e18_pages_are_counted_from_1_and_0_is_the_first(house: House) -> None:
    for number in range(22):
        sitting(house, f"m{number:02d}")
    assert await listed(house, "?page_no=0&per_page=2") == await listed(house, "?page_no=1&per_page=2")
    assert len(await listed(house)) == 20
    assert len(await listed(house, "?per_page=0")) == 20
    assert len(await listed(house, "?per_page=5000")) == 22
    assert await listed(house, "?page_no=2147483648&per_page=2147483648") == []


async def test_e19_minutes_are_those_of_all_participants_until_now(house: House) -> None:
    session = sitting(house)
    session.join("bob")
    aged(session, 10)
    session.leave("bob")
    item = (await house.get(f"{SESSIONS}/{session.id}"))[1]["data"]
    assert item["minutes_consumed"] == pytest.approx(20, abs=0.05)
    await session.end()
    _, body = await house.get(SESSIONS, token="admin")
    assert body["data"]["sessions"][0]["minutes_consumed"] == pytest.approx(20, abs=0.05)


async def test_e20_times_are_of_creation_and_inclusive(house: House) -> None:
    session = sitting(house)
    created = (await house.get(f"{SESSIONS}/{session.id}"))[1]["data"]["created_at"]
    at = datetime.fromisoformat(created.replace("Z", "+00:00"))
    before, after = ((at + timedelta(milliseconds=ms)).strftime("%Y-%m-%dT%H:%M:%S.%fZ") for ms in (-1, 1))
    assert await listed(house, f"?start_time={created}&end_time={created}") == ["Weekly"]
    assert await listed(house, f"?start_time={after}") == []
    assert await listed(house, f"?end_time={before}") == []
    assert await listed(house, f"?start_time={before}&end_time={after}&status=LIVE") == ["Weekly"]
    assert await listed(house, f"?start_time={after}&end_time={before}") == []
    assert await listed(house, f"?start_time={at.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%S')}") == ["Weekly"]
    assert await listed(house, "?start_time=0001-01-01T00:00:00%2B14:00&end_time=9999-12-31T23:59:59-14:00") == [
        "Weekly"
    ]


async def test_e21_any_of_the_participants_named_took_part(house: House) -> None:
    first, second, third = sitting(house, "a"), sitting(house, "b", host="bob"), sitting(house, "c", host="carol")
    third.join("dave", custom_id="emp-7")
    assert await listed(house, "?participants=alice") == ["a"]
    assert await listed(house, "?participants=alice,bob&sort_order=ASC") == ["a", "b"]
    assert await listed(house, f"?participants={peer(second)}, emp-7&sort_order=ASC") == ["b", "c"]
    assert await listed(house, "?participants=dave") == ["c"]
    assert await listed(house, f"?participants={peer(first, 3)}") == []
    assert len(await listed(house, "?participants=")) == 3


async def test_e22_no_chat_is_an_empty_file_and_no_transcript_none(house: House) -> None:
    session = sitting(house)
    assert (await house.get(f"{SESSIONS}/{session.id}/chat"))[0] == 200
    assert (await house.get(f"{SESSIONS}/{session.id}/transcript"))[0] == 404
    assert (await house.get(f"{SESSIONS}/{session.id}/summary"))[0] == 404


async def test_e25_every_session_is_a_meeting(house: House) -> None:
    sitting(house)
    house.session()
    _, body = await house.get(SESSIONS, token="admin")
    assert [item["type"] for item in body["data"]["sessions"]] == ["meeting", "meeting"]


async def test_e26_who_is_present_has_not_left(house: House) -> None:
    session = sitting(house)
    _, body = await house.get(f"{SESSIONS}/{session.id}/participants")
    assert "left_at" not in body["data"]["participants"][0]


# What all dialects have in common.


async def test_g1_a_session_of_another_dialect_is_seen_and_ended_here(house: House) -> None:
    _, made = await house.post("/api/CallSession/createSession", {"host": "alice", "name": "Tea"})
    _, body = await house.get(f"{SESSIONS}/{made['session']}")
    assert body["data"]["meeting_display_name"] == "Tea"
    meeting = body["data"]["associated_id"]
    status, body = await house.post(f"{MEETINGS}/{meeting}/active-session/kick-all", token="admin")
    assert (status, body["data"]["kicked_participants_count"]) == (200, 1)
    session = house.registry.get(made["session"])
    assert session is not None
    assert session.ended


async def test_g2_a_literal_segment_wins_over_an_id(house: House) -> None:
    session = sitting(house)
    status, body = await house.get(f"{SESSIONS}/peer-report/{peer(session)}")
    assert (status, "peer_report" in body["data"]) == (200, True)
    assert (await house.get(f"{SESSIONS}/peer-report"))[0] == 404


async def test_g6_wrong_methods_bodies_and_credentials_are_refused_in_this_dialects_words(house: House) -> None:
    session = sitting(house)
    status, body, response = await house.call("DELETE", f"{SESSIONS}/{session.id}")
    assert (status, body["success"]) == (405, False)
    assert "GET" in response.headers["Allow"]
    for raw in (b"{", b"[]", b'{"title": 5}', b"\xff"):
        status, body, _ = await house.call("POST", MEETINGS, raw=raw)
        assert (status, body["success"]) == (400, False), raw
    status, body, _ = await house.call("POST", MEETINGS, raw=b" " * 70_000)
    assert (status, body["success"]) == (413, False)
    status, body, response = await house.call("GET", SESSIONS, token=None)
    assert (status, body["success"]) == (401, False)
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert set(body) == {"success", "errors", "messages"}
    assert set(body["errors"][0]) == {"code", "message"}
    assert body["errors"][0]["code"] == 401


async def test_who_has_no_role_in_the_app_sees_what_it_has_to_do_with(house: House) -> None:
    sitting(house, "alices")
    mine = sitting(house, "took part", host="bob")
    mine.join("stranger")
    hosted = sitting(house, "hosted", host="stranger")
    roled = sitting(house, "roled", host="bob")
    assert roled.channel is not None
    house.registry.rooms.set_role(roled.channel, "stranger", "viewer")
    house.services.writer.write(
        "channel_roles", {"channel_id": roled.channel.id, "user_id": "stranger", "role": "viewer"}
    )
    made = house.registry.create(tenant=TENANT, made_by="pbx", owner="machine-owner", name="made")
    assert made.owner == "machine-owner"
    assert sorted(await listed(house, token="stranger")) == ["hosted", "roled", "took part"]
    _, body = await house.get(f"{SESSIONS}?search=o&status=LIVE&per_page=1", token="stranger")
    assert body["paging"]["total_count"] == 3
    assert (await house.get(f"{SESSIONS}/{hosted.id}", token="stranger"))[0] == 200
    other = sitting(house, "not")
    assert (await house.get(f"{SESSIONS}/{other.id}", token="stranger"))[0] == 403


async def test_an_old_session_is_told_from_the_database_as_it_was(house: House) -> None:
    session = sitting(house, meta={"a": 1})
    session.join("bob", display_name="Robert")
    await session.end()
    paths = [
        f"{SESSIONS}/{session.id}", f"{SESSIONS}/{session.id}/participants?include_peer_events=true",
        f"{SESSIONS}/peer-report/{peer(session)}",
    ]  # fmt: skip
    before = [await house.get(path) for path in paths]
    await house.services.writer.settled()
    house.registry._ended.clear()
    assert house.registry.get(session.id) is None
    assert [await house.get(path) for path in paths] == before
    assert before[0][0] == 200


async def test_a_transcript_that_comes_late_is_announced_too(house: House) -> None:
    session = sitting(house)
    session.join("bob", display_name="Robert")
    await session.end()
    before = (await house.get(f"{SESSIONS}/{session.id}/participants"))[1]
    details = (await house.get(f"{SESSIONS}/{session.id}"))[1]["data"]
    await house.services.writer.settled()
    house.registry._ended.clear()
    heard: list[Happening] = []
    house.registry.bus.follow(heard.append)
    await talked(house, session, "Better late than never.")
    assert [happening.kind for happening in heard] == [TranscriptReady]
    assert heard[0].seq > 4
    assert heard[0].session.id == session.id
    assert (await house.get(f"{SESSIONS}/{session.id}/participants"))[1] == before
    after = (await house.get(f"{SESSIONS}/{session.id}"))[1]["data"]
    assert {**after, "updated_at": ""} == {**details, "updated_at": ""}


# Meetings.


async def test_a_meeting_is_made_joined_and_ended(house: House) -> None:
    status, body = await house.post(MEETINGS, {"title": "Stand-up", "record_on_start": True}, token="admin")
    assert status == 201
    meeting = body["data"]
    assert set(meeting) == {"id", "title", "status", "created_at", "updated_at"}
    path = f"{MEETINGS}/{meeting['id']}"
    assert (await house.get(f"{path}/active-session", token="admin"))[0] == 404
    status, body = await house.post(
        f"{path}/participants",
        {"name": "Ann", "preset_name": "group_call_host", "custom_participant_id": "ann"},
        token="admin",
    )
    assert status == 201
    ann = body["data"]
    assert set(ann) == {"id", "token", "custom_participant_id", "preset_name", "name", "created_at", "updated_at"}
    _, body = await house.get(f"{path}/active-session", token=ann["token"])
    session = body["data"]
    assert set(session) == REQUIRED
    assert (session["status"], session["associated_id"]) == ("LIVE", meeting["id"])
    assert (session["live_participants"], session["meeting_display_name"]) == (1, "Stand-up")
    _, body = await house.get(f"{SESSIONS}/{session['id']}/participants/{ann['id']}", token=ann["token"])
    assert body["data"]["participant"]["display_name"] == "Ann"
    assert body["data"]["participant"]["preset_name"] == "group_call_host"
    live = house.registry.get(session_id_of(session["id"]) or "")
    assert live is not None
    assert (live.host, live.made_by) == ("ann", "realtimekit")
    status, body = await house.post(f"{path}/active-session/kick-all", token=ann["token"])
    assert (status, body["data"]) == (200, {"action": "kick-all", "kicked_participants_count": 1})
    assert live.ended
    assert (await house.get(f"{path}/active-session", token="admin"))[0] == 404
    assert (await house.get(path, token=ann["token"]))[0] == 401, "the token ended with the session"


async def test_a_participants_token_ends_with_its_stay_whoever_ends_it(house: House) -> None:
    _, body = await house.post(MEETINGS, {"title": "x"}, token="admin")
    path = f"{MEETINGS}/{body['data']['id']}"
    tokens = []
    for user in ("ann", "ben"):
        asked = {"preset_name": "p", "custom_participant_id": user}
        _, body = await house.post(f"{path}/participants", asked, token="admin")
        tokens.append(body["data"]["token"])
    session = house.registry.rooms.active_session(path.split("/")[-1])
    assert session is not None
    left, _ = await house.post("/api/CallSession/leaveSession", {"user": "ann", "session": session.id}, token="admin")
    assert left == 200
    assert [(await house.get(path, token=token))[0] for token in tokens] == [401, 200]
    await session.end()
    assert [(await house.get(path, token=token))[0] for token in tokens] == [401, 401]


async def test_one_token_adds_itself_and_an_admin_anybody(house: House) -> None:
    _, body = await house.post(MEETINGS, {"title": "x"}, token="admin")
    path = f"{MEETINGS}/{body['data']['id']}/participants"
    asked = {"preset_name": "group_call_host", "custom_participant_id": "alice"}
    assert (await house.post(path, {**asked, "custom_participant_id": "bob"}))[0] == 403
    status, body = await house.post(path, asked)
    assert status == 201
    assert "token" not in body["data"]
    assert (await house.post(path, asked))[0] == 409
    session = house.registry.rooms.active_session(path.split("/")[-2])
    assert session is not None
    assert session.present()[0].role == "member", "a preset gives no more than the token has"
    assert session.host is None
    assert (await house.post(path, asked, token="viewer"))[0] == 403
    for wrong in ({}, {**asked, "preset_name": ""}, {**asked, "name": "a\r\nb"}, {**asked, "custom_participant_id": 5}):
        assert (await house.post(path, wrong))[0] == 400


async def test_participants_leave_or_are_kicked(house: House) -> None:
    _, body = await house.post(MEETINGS, {"title": "x"}, token="admin")
    path = f"{MEETINGS}/{body['data']['id']}"
    ids = {}
    for user in ("alice", "bob", "carol", "dave"):
        asked = {"preset_name": "group_call_participant", "custom_participant_id": user}
        _, body = await house.post(f"{path}/participants", asked, token="admin")
        ids[user] = body["data"]["id"]
    assert (await house.delete(f"{path}/participants/{ids['bob']}"))[0] == 403
    status, body = await house.delete(f"{path}/participants/{ids['alice']}")
    assert status == 200
    assert set(body["data"]) == {"custom_participant_id", "preset_id", "created_at", "updated_at"}
    assert (await house.delete(f"{path}/participants/{ids['alice']}"))[0] == 404
    asked_out = {"participant_ids": [ids["bob"], "x"], "custom_participant_ids": ["carol"]}
    assert (await house.post(f"{path}/active-session/kick", asked_out))[0] == 403
    status, body = await house.post(f"{path}/active-session/kick", asked_out, token="host")
    assert status == 200
    assert body["data"]["action"] == "kick"
    assert [item["id"] for item in body["data"]["participants"]] == [ids["bob"], ids["carol"]]
    assert (await house.post(f"{path}/active-session/kick", asked_out, token="host"))[0] == 404
    session = house.registry.rooms.active_session(path.split("/")[-1])
    assert session is not None
    assert [stay.user for stay in session.present()] == ["dave"]


async def test_g3_instants_are_the_same_wherever_they_are_shown(house: House) -> None:
    _, body = await house.post(MEETINGS, {"title": "x"}, token="admin")
    made = body["data"]
    path = f"{MEETINGS}/{made['id']}"
    added = []
    for number in range(16):  # one in two would be rounded otherwise
        asked = {"preset_name": "guest", "custom_participant_id": f"user{number}"}
        _, body = await house.post(f"{path}/participants", asked, token="admin")
        added.append((body["data"]["id"], body["data"]["created_at"]))
    _, body = await house.get(f"{path}/active-session", token="admin")
    _, body = await house.get(f"{SESSIONS}/{body['data']['id']}/participants", token="admin")
    assert [(stay["id"], stay["created_at"]) for stay in body["data"]["participants"]] == added
    _, channel = await house.get(f"/channels/{made['id']}", token="admin")
    assert made["created_at"] == iso(channel["created"])


async def test_meetings_are_listed_and_found(house: House) -> None:
    for title in ("one", "two", "three"):
        await house.post(MEETINGS, {"title": title}, token="admin")
    _, body = await house.get(f"{MEETINGS}?per_page=2", token="viewer")
    assert [item["title"] for item in body["data"]] == ["three", "two"]
    assert body["paging"] == {"start_offset": 1, "end_offset": 2, "total_count": 3}
    _, body = await house.get(f"{MEETINGS}?search=TW", token="viewer")
    assert [item["title"] for item in body["data"]] == ["two"]
    assert (await house.get(MEETINGS, token="stranger"))[1]["data"] == []
    _, body = await house.get(f"{MEETINGS}/{uuid4()}", token="admin")
    assert body["errors"][0] == {"code": 404, "message": "UNKNOWN_CHANNEL: there is no meeting of that id"}
    _, body = await house.get(f"{MEETINGS}?end_time=2001-01-01T00:00:00Z", token="viewer")
    assert body["data"] == []


async def test_a_meeting_sits_again_after_its_session_ended(house: House) -> None:
    session = house.session(name="Call")
    await session.end()
    meeting = uuid_of_channel(session.id)
    asked = {"preset_name": "p", "custom_participant_id": "alice"}
    status, _ = await house.post(f"{MEETINGS}/{meeting}/participants", asked, token="admin")
    assert status == 201
    _, body = await house.get(f"{SESSIONS}?associated_id={meeting}&sort_order=ASC", token="admin")
    assert [item["status"] for item in body["data"]["sessions"]] == ["ENDED", "LIVE"]
