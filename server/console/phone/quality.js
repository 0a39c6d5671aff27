// How good a call sounds, from what the browser counts.

const WINDOW_S = 10; // over which loss is taken

/** Mean opinion score, 1 to 4.4, by the simplified E-model: loss in %, round trip and jitter in ms. */
export function mos(loss, roundTrip, jitter) {
  const delay = roundTrip / 2 + 2 * jitter + 10;
  const byDelay = 0.024 * delay + (delay > 177.3 ? 0.11 * (delay - 177.3) : 0);
  const byLoss = (95 * loss) / (loss + 25.1); // G.711 that conceals its losses
  const r = Math.max(0, 93.2 - byDelay - byLoss);
  return Math.max(1, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6);
}

export function grade(score) {
  return score >= 4.2 ? "very good" : score >= 4 ? "good" : score >= 3.6 ? "fair" : score >= 3.1 ? "poor" : "bad";
}

/** Reads a connection's counters again and again. */
export class Quality {
  #samples = [];

  constructor(connection) {
    this.connection = connection;
  }

  /** {mos, jitter (ms), loss (%), roundTrip (ms, null while unknown), received (packets)}; null before sound comes. */
  async read() {
    let inbound = null;
    let roundTrip = null;
    for (const entry of (await this.connection.getStats()).values()) {
      if (entry.type === "inbound-rtp" && entry.kind === "audio") inbound = entry;
      else if (entry.type === "candidate-pair" && entry.nominated && entry.currentRoundTripTime !== undefined)
        roundTrip ??= entry.currentRoundTripTime * 1000;
      else if (entry.type === "remote-inbound-rtp" && entry.roundTripTime !== undefined)
        roundTrip = entry.roundTripTime * 1000; // of the media itself
    }
    if (!inbound?.packetsReceived) return null;
    const now = { at: inbound.timestamp, received: inbound.packetsReceived, lost: inbound.packetsLost ?? 0 };
    this.#samples.push(now);
    while (now.at - this.#samples[0].at > WINDOW_S * 1000) this.#samples.shift();
    const [first] = this.#samples;
    const lost = Math.max(0, now.lost - first.lost);
    const expected = lost + now.received - first.received;
    const loss = expected > 0 ? (100 * lost) / expected : 0;
    const jitter = (inbound.jitter ?? 0) * 1000;
    return { mos: mos(loss, roundTrip ?? 0, jitter), jitter, loss, roundTrip, received: now.received };
  }
}
