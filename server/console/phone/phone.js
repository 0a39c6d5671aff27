// The telephone itself: signs in by SIP over WebSocket and holds at most one call. It knows nothing of the page.
//
// It tells by events whose `detail` says more:
//   line   {state: "off" | "connecting" | "ready" | "lost", words}
//   call   the call's state has changed: see `phone.call`, null once it is over
//   over   {words, call}: a call has ended; `words` is null when there is nothing to explain
//   sound  {stream}: the other side's sound

import { C, UA, WebSocketInterface } from "./jssip.js";
import * as words from "./words.js";

const REGISTER_S = 300;
const RETRY_MS = 5000;
const HOST_PATTERN = /^[0-9A-Za-z.-]+$/;

export class Phone extends EventTarget {
  #ua = null;
  #session = null;
  #wasReady = false;
  #retry = null;
  #iceServers = [];

  /** `socketUrl`: ws:// or wss:// of /sip; `host`: what stands behind the @. */
  constructor(socketUrl, host) {
    super();
    this.socketUrl = socketUrl;
    this.host = HOST_PATTERN.test(host) || host.startsWith("[") ? host : "ringway.invalid";
    this.extension = null;
    this.call = null;
  }

  get connection() {
    return this.#session?.connection ?? null;
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  // The line.

  signIn(extension, password) {
    this.signOut();
    this.extension = extension;
    this.#wasReady = false;
    const ua = new UA({
      sockets: [new WebSocketInterface(this.socketUrl)],
      uri: `sip:${encodeURIComponent(extension)}@${this.host}`,
      authorization_user: extension,
      password,
      register_expires: REGISTER_S,
      session_timers: false,
      connection_recovery_min_interval: 1,
      connection_recovery_max_interval: 10,
      user_agent: "Ringway phone page",
    });
    this.#ua = ua;
    ua.on("connecting", () => this.#line(ua, this.#wasReady ? "lost" : "connecting"));
    ua.on("disconnected", ({ error }) => this.#disconnected(ua, error));
    ua.on("registered", () => {
      this.#wasReady = true;
      this.#learnIceServers(ua, extension, password);
      this.#line(ua, "ready");
    });
    ua.on("registrationFailed", ({ response, cause }) => this.#refused(ua, response, cause));
    ua.on("newRTCSession", ({ originator, session, request }) => {
      if (originator === "remote") this.#incoming(session, request);
    });
    this.#line(ua, "connecting");
    ua.start();
  }

  /** STUN and TURN servers, if the server has any: credentials end, so it is asked again with each registration. */
  async #learnIceServers(ua, number, password) {
    try {
      const response = await fetch("phone/ice-servers", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ number, password }),
      });
      if (response.ok && ua === this.#ua) this.#iceServers = (await response.json()).iceServers;
    } catch {
      // Calls may well work without.
    }
  }

  signOut() {
    const ua = this.#ua;
    if (!ua) return;
    this.#ua = null;
    clearTimeout(this.#retry);
    this.hangUp();
    ua.stop();
    this.#tell("line", { state: "off", words: null });
  }

  #line(ua, state, text = null) {
    if (ua === this.#ua) this.#tell("line", { state, words: text });
  }

  #disconnected(ua, error) {
    if (ua !== this.#ua) return;
    const call = this.call;
    if (call) {
      // The server ends a call whose connection is gone; a new one would not find it again.
      this.#finish(call, words.CALL_LOST);
    }
    const text = call ? null : this.#wasReady ? words.LINE_LOST : words.UNREACHABLE;
    if (error || this.#wasReady) this.#line(ua, "lost", text);
  }

  #refused(ua, response, cause) {
    if (ua !== this.#ua) return;
    const text = words.signIn(this.extension, response, cause);
    if (cause === C.causes.CONNECTION_ERROR) return; // it connects again by itself
    const status = response?.status_code ?? 0;
    if (this.#wasReady && !(status >= 400 && status < 500)) {
      this.#line(ua, "lost", text);
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => ua === this.#ua && ua.register(), RETRY_MS);
      return;
    }
    this.#ua = null;
    this.hangUp();
    ua.stop();
    this.#tell("line", { state: "off", words: text });
  }

  // Calls.

  /** Call a number; `stream` is the microphone's and stopped with the call. */
  dial(number, stream) {
    const call = this.#begin({ direction: "out", peer: number, name: null, state: "dialling", stream });
    const target = `sip:${encodeURIComponent(number).replaceAll("%2B", "+")}@${this.host}`;
    const session = this.#ua.call(target, {
      mediaStream: stream,
      mediaConstraints: { audio: true, video: false },
      pcConfig: { iceServers: this.#iceServers },
    });
    this.#follow(call, session);
    this.#listen(call, session.connection);
  }

  #incoming(session, request) {
    if (this.call) {
      session.terminate({ status_code: 486 });
      return;
    }
    const from = request.from;
    const call = this.#begin({
      direction: "in",
      peer: from.uri.user ?? "unknown",
      name: from.display_name || null,
      state: "incoming",
      stream: null,
    });
    this.#follow(call, session);
  }

  answer(stream) {
    const [call, session] = [this.call, this.#session];
    if (call?.state !== "incoming") {
      stop(stream);
      return;
    }
    call.stream = stream;
    call.state = "connecting";
    session.answer({
      mediaStream: stream,
      mediaConstraints: { audio: true, video: false },
      pcConfig: { iceServers: this.#iceServers },
    });
    this.#listen(call, session.connection);
    this.#tell("call");
  }

  /** End the call, cancel it, or reject it. */
  hangUp() {
    const [call, session] = [this.call, this.#session];
    if (!call) return;
    if (!session.isEnded()) session.terminate(call.state === "incoming" ? { status_code: 486 } : {});
    this.#finish(call, null);
  }

  mute(on) {
    const session = this.#session;
    if (!session) return;
    if (on) session.mute({ audio: true });
    else session.unmute({ audio: true });
    this.call.muted = on;
    this.#tell("call");
  }

  /** Whether the server was asked; it is refused while another change is under way. */
  hold(on) {
    const session = this.#session;
    if (this.call?.state !== "talking") return false;
    return on ? session.hold() : session.unhold();
  }

  /** One DTMF digit, in the sound's own packets (RFC 4733), by INFO where the other side did not agree to that. */
  digit(digit) {
    if (this.call?.state !== "talking") return;
    const sender = this.connection?.getSenders().find((each) => each.track?.kind === "audio");
    const transportType = sender?.dtmf?.canInsertDTMF ? C.DTMF_TRANSPORT.RFC2833 : C.DTMF_TRANSPORT.INFO;
    this.#session.sendDTMF(digit, { transportType, duration: 160, interToneGap: 80 });
  }

  /** Speak by another microphone from now on. */
  async replaceMicrophone(stream) {
    const [call, connection] = [this.call, this.connection];
    const sender = connection?.getSenders().find((each) => each.track?.kind === "audio");
    if (!call || !sender) {
      stop(stream);
      return;
    }
    const [track] = stream.getAudioTracks();
    track.enabled = sender.track.enabled;
    await sender.replaceTrack(track);
    stop(call.stream);
    call.stream = stream;
    this.#tell("call");
  }

  #begin(call) {
    this.call = { muted: false, held: false, heldByThem: false, since: null, remote: null, early: false, ...call };
    this.#tell("call");
    return this.call;
  }

  #follow(call, session) {
    this.#session = session;
    const change = (changes) => {
      if (this.call !== call) return;
      Object.assign(call, changes);
      this.#tell("call");
    };
    session.on("progress", ({ originator, response }) => {
      if (originator === "remote") change({ state: "ringing", early: Boolean(response?.body) });
    });
    session.on("confirmed", () => change({ state: "talking", since: call.since ?? Date.now() }));
    session.on("hold", ({ originator }) => change(originator === "local" ? { held: true } : { heldByThem: true }));
    session.on("unhold", ({ originator }) => change(originator === "local" ? { held: false } : { heldByThem: false }));
    session.on("newDTMF", ({ originator, dtmf }) => {
      if (originator === "remote") this.#tell("digit", { digit: dtmf.tone });
    });
    session.on("failed", ({ originator, message, cause }) => {
      const missed = call.direction === "in" ? missedWords(call, originator, cause) : null;
      const response = originator === "remote" ? message : null;
      this.#finish(call, call.direction === "in" ? missed : words.callFailed(call.peer, response, cause));
    });
    session.on("ended", () => this.#finish(call, null));
  }

  #listen(call, connection) {
    const remote = new MediaStream();
    connection.addEventListener("track", ({ track }) => {
      if (track.kind !== "audio") return;
      remote.addTrack(track);
      call.remote = remote;
      if (this.call === call) this.#tell("sound", { stream: remote });
    });
    connection.addEventListener("iceconnectionstatechange", () => {
      if (connection.iceConnectionState !== "failed" || this.call !== call) return;
      const session = this.#session;
      this.#finish(call, words.NO_PATH);
      if (!session.isEnded()) session.terminate();
    });
  }

  #finish(call, text) {
    stop(call.stream);
    if (this.call !== call) return;
    const session = this.#session;
    this.call = this.#session = null;
    call.state = "over";
    if (text === words.CALL_LOST && session && !session.isEnded()) session.terminate();
    this.#tell("over", { words: text, call });
  }
}

function missedWords(call, originator, cause) {
  if (originator === "remote") return `You missed a call from ${call.name ?? call.peer}.`;
  if (cause === C.causes.NO_ANSWER || cause === C.causes.EXPIRES) return `You missed a call from ${call.name ?? call.peer}.`;
  if (cause === C.causes.REJECTED) return null;
  return `The call from ${call.name ?? call.peer} failed (${cause}).`;
}

function stop(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}
