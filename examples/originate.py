"""Click-to-call: ring one number, on answer another, and join them, by Ringway's REST API.

    python examples/originate.py --token TOKEN 1001 1002
    python examples/originate.py --token TOKEN --trunk carrier --auto-answer 1001 030123456

Follows the call until it ends; Ctrl-C hangs up. Exit status: 0 when they talked, 1 when not, 2 when the server
refused it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import uuid
from collections.abc import Sequence

from server.client import NoAnswer, Refused, Ringway, pbx

POLL_S = 0.5


async def create(ringway: Ringway, body: pbx.CreateSession) -> str:
    """Start the call and return the session's id; the key lets the client ask again without dialling twice."""
    made = await ringway.pbx.create_session(body, idempotency_key=str(uuid.uuid4()))
    assert isinstance(made, pbx.SessionId), "the other answer is that of a dry run"
    return made.id


async def follow(ringway: Ringway, session: str) -> int:
    """Tell what happens until the session has ended; how long they talked, in seconds."""
    talked = -1
    while True:
        active = await ringway.pbx.list_sessions(pbx.ListQuery(top=1000))
        call = (await ringway.pbx.get_session(session)).calls[-1]
        if call.talking_time != talked:
            talked = call.talking_time
            print(f"{call.caller} -> {call.callee}: {talked} s", flush=True)
        if all(item.id != session for item in active.items):
            return talked
        await asyncio.sleep(POLL_S)


async def run(options: argparse.Namespace) -> int:
    """The whole programme; its exit status."""
    body = pbx.CreateSession(caller=options.caller, callee=options.callee, send_sdp=True)
    if options.trunk:
        body.trunk = options.trunk
    if options.name:
        body.caller_display_name = options.name
    if options.auto_answer:
        body.additional_header, body.header_direction = "ANSWER_MODE", "CALLER"
    async with Ringway(options.url, options.token) as ringway:
        try:
            session = await create(ringway, body)
            print(f"session {session}", flush=True)
            try:
                return 0 if await follow(ringway, session) > 0 else 1
            except asyncio.CancelledError:
                await ringway.pbx.destroy_session(session)
                raise
        except Refused as refused:
            print(refused, file=sys.stderr)
            return 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Ring one number, on answer another, and join them.")
    parser.add_argument("caller", help="rung first, such as 1001")
    parser.add_argument("callee", help="rung once the caller has answered")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="where Ringway's API is")
    parser.add_argument("--token", default=os.environ.get("RINGWAY_TOKEN", ""), help="or the variable RINGWAY_TOKEN")
    parser.add_argument("--trunk", help="trunk to use for what is not an extension")
    parser.add_argument("--name", help="display name that the callee sees")
    parser.add_argument("--auto-answer", action="store_true", help="ask the caller's phone to answer by itself")
    try:
        return asyncio.run(run(parser.parse_args(arguments)))
    except KeyboardInterrupt:
        return 1
    except NoAnswer as error:
        print(f"no answer from the server: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
