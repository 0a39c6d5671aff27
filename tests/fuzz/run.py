"""[io] `python -m tests.fuzz.run --count N --seed S`: N broken messages through the parser and the stream.

Prints the throughput and every surprise with the message that made it; ends with 1 if there was any.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback

from tests.fuzz.mutator import mutations
from tests.fuzz.parser import Tally, check_datagram, check_stream

SLOW_S = 0.05
"A message whose checks take longer is a surprise; all that is done with one takes some 20 parses of at most 5 ms."
MAX_SURPRISES = 10


def run(count: int, seed: int) -> int:
    """Check `count` messages; the number of surprises."""
    tally = Tally()
    rng = random.Random(seed)
    surprises = 0
    slowest_s = 0.0
    started_at = time.perf_counter()
    for number, data in enumerate(mutations(seed, count)):
        before_s = time.thread_time()
        try:
            check_datagram(data, tally)
            check_stream(data, rng, tally)
        except Exception:  # whatever it is, it is what we are looking for
            surprises += 1
            print(f"message {number} of seed {seed}: {data[:2000]!r}", file=sys.stderr)
            traceback.print_exc()
        took_s = time.thread_time() - before_s
        slowest_s = max(slowest_s, took_s)
        if took_s > SLOW_S:
            surprises += 1
            print(f"message {number} of seed {seed} took {took_s * 1000:.1f} ms: {data[:200]!r}", file=sys.stderr)
        if surprises >= MAX_SURPRISES:
            break
    elapsed_s = time.perf_counter() - started_at
    print(
        f"{count} messages, seed {seed}: {tally.read} read, {tally.refused} refused for {len(tally.reasons)} reasons, "
        f"{tally.events} stream events; {count / elapsed_s:.0f} messages/s, slowest {slowest_s * 1000:.1f} ms; "
        f"{surprises} surprises"
    )
    return surprises


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    return 1 if run(options.count, options.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
