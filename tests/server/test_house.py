"""The house that other tests live in."""

from __future__ import annotations

from .house import House


async def test_it_answers_and_knows_its_tokens(house: House) -> None:
    assert await house.get("/api/sessions") == (200, {"count": 0, "items": []})
    for name in ("expired", "revoked"):
        assert (await house.get("/api/sessions", token=name))[0] == 401
    assert (await house.get("/api/sessions", token=None))[0] == 401


async def test_its_sessions_and_phones_are_real(house: House) -> None:
    session = house.session()
    assert [participant.user for participant in session.present()] == ["alice"]
    caller, callee = await house.phone("1001"), await house.phone("1002")
    for phone in (caller, callee):
        phone.script.answer_after_s = 0.0
    status, body = await house.post(
        "/api/sessions", {"caller": "1001", "callee": "1002", "send_sdp": True}, token="admin"
    )
    assert status == 200
    made = house.registry.get(body["id"])
    assert made is not None
    await house.until(lambda: made.call.answered is not None)
    assert (await house.post(f"/api/sessions/{made.id}/destroy", token="admin"))[0] == 200
    await house.until(lambda: made.ended)
    assert not caller.faults
    assert not callee.faults
