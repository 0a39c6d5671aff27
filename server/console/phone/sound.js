// Microphone, speaker, levels, and the tones a telephone makes.

const MICROPHONE = "ringway.microphone";
const SPEAKER = "ringway.speaker";
const FLOOR_DB = -60; // where a level meter begins
const KEYS = {
  1: [697, 1209], 2: [697, 1336], 3: [697, 1477],
  4: [770, 1209], 5: [770, 1336], 6: [770, 1477],
  7: [852, 1209], 8: [852, 1336], 9: [852, 1477],
  "*": [941, 1209], 0: [941, 1336], "#": [941, 1477],
};
const RINGBACK = { tones: [425], on: 1, off: 4, volume: 0.06 };
const RING = { tones: [880, 1108.7], on: 0.8, off: 1.6, volume: 0.16 };

function remembered(key) {
  try {
    return localStorage.getItem(key) ?? "";
  } catch {
    return ""; // a browser that keeps nothing
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // the choice holds as long as the page
  }
}

export class Sound {
  #context = null;
  #ring = null;
  #chosen = { [MICROPHONE]: remembered(MICROPHONE), [SPEAKER]: remembered(SPEAKER) };

  /** `element`: the <audio> that plays the other side. */
  constructor(element) {
    this.element = element;
  }

  get available() {
    return Boolean(navigator.mediaDevices?.getUserMedia);
  }

  get canChooseSpeaker() {
    return typeof this.element.setSinkId === "function";
  }

  /** A stream of the chosen microphone, or of the usual one when that is gone. Throws as getUserMedia does. */
  async microphone() {
    const deviceId = this.#chosen[MICROPHONE];
    const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
    if (deviceId) {
      try {
        return await navigator.mediaDevices.getUserMedia({ audio: { ...audio, deviceId: { exact: deviceId } } });
      } catch (error) {
        if (error.name !== "NotFoundError" && error.name !== "OverconstrainedError") throw error;
      }
    }
    return navigator.mediaDevices.getUserMedia({ audio });
  }

  /** {microphones, speakers}, each {id, label, chosen}; without labels until the microphone was allowed. */
  async devices() {
    const all = this.available ? await navigator.mediaDevices.enumerateDevices() : [];
    const of = (kind, key, usual) => {
      const found = all.filter((device) => device.kind === kind && device.deviceId !== "default" && device.deviceId);
      const entries = found.map((device, at) => ({
        id: device.deviceId,
        label: device.label || `${usual} ${at + 1}`,
        chosen: device.deviceId === this.#chosen[key],
      }));
      return [{ id: "", label: "System default", chosen: !entries.some((entry) => entry.chosen) }, ...entries];
    };
    return {
      microphones: of("audioinput", MICROPHONE, "Microphone"),
      speakers: of("audiooutput", SPEAKER, "Speaker"),
    };
  }

  chooseMicrophone(id) {
    this.#chosen[MICROPHONE] = id;
    remember(MICROPHONE, id);
  }

  async chooseSpeaker(id) {
    this.#chosen[SPEAKER] = id;
    remember(SPEAKER, id);
    await this.useSpeaker();
  }

  /** Let the chosen speaker play; the usual one when it is gone. */
  async useSpeaker() {
    if (!this.canChooseSpeaker) return;
    try {
      await this.element.setSinkId(this.#chosen[SPEAKER]);
    } catch {
      await this.element.setSinkId("");
    }
  }

  /** Play a remote stream. */
  async play(stream) {
    this.element.srcObject = stream;
    await this.useSpeaker();
    await this.element.play().catch(() => {}); // an autoplay rule: the element's own attribute tries again
  }

  silence() {
    this.element.srcObject = null;
  }

  /** Browsers let a page make sound once it was touched: to be called from a click. */
  wake() {
    this.#context ??= new AudioContext();
    if (this.#context.state === "suspended") this.#context.resume();
    return this.#context;
  }

  /** A meter of a stream: `read()` gives 0 to 1, `close()` ends it. */
  meter(stream) {
    const context = this.wake();
    const source = context.createMediaStreamSource(stream);
    const analyser = context.createAnalyser();
    analyser.fftSize = 1024;
    source.connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    return {
      read() {
        analyser.getFloatTimeDomainData(samples);
        const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
        return Math.min(1, Math.max(0, 1 - (10 * Math.log10(power + 1e-12)) / FLOOR_DB));
      },
      close: () => source.disconnect(),
    };
  }

  /** The two tones of a key, quietly. */
  key(digit) {
    this.#burst(KEYS[digit] ?? [], this.wake().currentTime, 0.12, 0.04);
  }

  ringback() {
    this.#repeat(RINGBACK);
  }

  ring() {
    this.#repeat(RING);
  }

  quiet() {
    clearInterval(this.#ring);
    this.#ring = null;
  }

  #repeat({ tones, on, off, volume }) {
    this.quiet();
    const once = () => this.#burst(tones, this.wake().currentTime, on, volume);
    once();
    this.#ring = setInterval(once, (on + off) * 1000);
  }

  #burst(tones, start, length, volume) {
    const context = this.#context;
    const gain = context.createGain();
    gain.gain.setValueAtTime(0, start);
    gain.gain.linearRampToValueAtTime(volume, start + 0.01);
    gain.gain.setValueAtTime(volume, start + length - 0.02);
    gain.gain.linearRampToValueAtTime(0, start + length);
    gain.connect(context.destination);
    for (const hz of tones) {
      const oscillator = context.createOscillator();
      oscillator.frequency.value = hz;
      oscillator.connect(gain);
      oscillator.start(start);
      oscillator.stop(start + length);
    }
  }
}
