"""Listen to what happens in a session, by Ringway's REST API.

    python examples/events.py --token TOKEN SESSION
    python examples/events.py --token TOKEN --kind "leg.*" --kind call.ended

A line for each event, until the session has ended; without a session those of all that the token may see, until
Ctrl-C. What happens while the connection is broken is told once it is back. `--after` begins after a former event,
so `--after evt_0` tells all that is kept. Exit status: 0, or 2 when the server refused it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from contextlib import aclosing

from server.client import Refused, Ringway


async def run(options: argparse.Namespace) -> int:
    """The whole programme; its exit status."""
    kinds = {*options.kind, "session.ended"} if options.kind and options.session else set(options.kind)
    async with Ringway(options.url, options.token) as ringway:
        listening = ringway.listen(session=options.session, kinds=sorted(kinds), after=options.after)
        seen = ""
        try:
            async with aclosing(listening) as events:
                async for event in events:
                    if event.id != seen:  # the same one may come twice
                        print(f"{event.at} {event.session} {event.kind} {json.dumps(event.data)}", flush=True)
                    seen = event.id
                    if options.session and event.kind == "session.ended":
                        break
        except Refused as refused:
            print(refused, file=sys.stderr)
            return 2
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Listen to what happens in a session.")
    parser.add_argument("session", nargs="?", help="its id, in the form of any dialect; left out: every session")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="where Ringway's API is")
    parser.add_argument("--token", default=os.environ.get("RINGWAY_TOKEN", ""), help="or the variable RINGWAY_TOKEN")
    parser.add_argument("--kind", action="append", default=[], help="only these, such as leg.* or call.ended")
    parser.add_argument("--after", help="id of the last event that was seen")
    try:
        return asyncio.run(run(parser.parse_args(arguments)))
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
