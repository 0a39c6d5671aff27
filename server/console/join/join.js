// The page that lets a browser into a session with sound.

import { Channel } from "./channel.js";
import * as words from "./words.js";

const GATHER_MS = 300;
const page = document.getElementById("join");
const session = page.dataset.session;
const key = `ringway.join.${session}`;
const at = (id) => document.getElementById(id);

let channel = null;
let peer = null;
let microphone = null;
let seen = 0; // `seq` of the last event
let caughtUp = 0; // what came before is no news
let joined = false;
let turn = 0; // counts entries and exits: who left while the browser asked is out
let mine = null; // index of our stay
let muted = false;
let iceServers = [];
const people = new Map(); // index -> {name, muted}

// What a reload must not lose. It is the tab's own, and gone with it.
const kept = {
  read: () => JSON.parse(sessionStorage.getItem(key) ?? "null"),
  write: (value) => sessionStorage.setItem(key, JSON.stringify(value)),
  clear: () => sessionStorage.removeItem(key),
};

/** A key of words.STATES; from out and left there is a way in. */
function show(state) {
  const focused = document.activeElement;
  const outside = ["out", "left", "over"].includes(state);
  page.dataset.state = state;
  at("enter").hidden = !outside || state === "over";
  at("inside").hidden = outside;
  if (page.contains(focused) && focused.closest("[hidden]")) // who works by keyboard must not fall out of the page
    (state === "over" ? at("state") : outside ? at("enter").querySelector("button") : at("leave")).focus();
  at("mute").disabled = state !== "in";
  at("state").textContent = words.STATES[state];
}

function complain(text) {
  at("notice").textContent = text;
  at("notice").hidden = !text;
}

function list() {
  at("who").hidden = at("people").hidden = !people.size;
  at("people").replaceChildren(
    ...[...people].map(([index, person]) => {
      const item = document.createElement("li");
      item.textContent = person.name + (index === mine ? " (you)" : "") + (person.muted ? ", muted" : "");
      return item;
    }),
  );
}

function setMuted(on) {
  muted = on;
  for (const track of microphone?.getAudioTracks() ?? []) track.enabled = !on;
  at("mute").textContent = on ? "Unmute" : "Mute";
}

// Coming in.

async function enter(credentials, back) {
  complain("");
  show("asking");
  const own = ++turn;
  let stream = microphone;
  try {
    if (!navigator.mediaDevices?.getUserMedia) throw new Error(words.INSECURE);
    stream ??= await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    });
  } catch (error) {
    if (own !== turn) return;
    complain(error instanceof DOMException ? words.microphone(error) : error.message);
    show("out");
    return;
  }
  if (own !== turn) return silence(stream);
  microphone = stream;
  show("joining");
  const { token, user } = credentials;
  iceServers = await serversFor(token);
  if (own !== turn) return;
  channel = new Channel(user ? { token, user } : { token });
  channel.addEventListener("open", () => take(credentials, back || joined));
  channel.addEventListener("frame", ({ detail }) => hear(detail));
  channel.addEventListener("lost", () => show("lost"));
  channel.addEventListener("closed", ({ detail }) => refused(detail));
  channel.open();
}

/** STUN and TURN servers of the server's configuration; none by default. */
async function serversFor(token) {
  try {
    const response = await fetch("/api/ice-servers", { headers: { Authorization: `Bearer ${token}` } });
    return response.ok ? (await response.json()).iceServers : [];
  } catch {
    return [];
  }
}

async function take(credentials, back) {
  try {
    let stay;
    try {
      const fields = credentials.name ? { session, name: credentials.name } : { session };
      stay = back ? await channel.send("resume", { session, seq: seen }) : await channel.send("join", fields);
    } catch (error) {
      if (error.code === "ALREADY_PARTICIPANT") stay = await channel.send("resume", { session, seq: 0 });
      else if (back && error.code === "NOT_PARTICIPANT") stay = await channel.send("join", { session });
      else throw error;
    }
    joined = true;
    mine = stay.participant;
    caughtUp = stay.seq;
    if (!back) seen = stay.seq;
    people.clear();
    for (const each of stay.participants)
      people.set(each.participant, { name: each.display_name || each.user, muted: each.muted });
    list();
    setMuted(Boolean(people.get(mine)?.muted)); // as before a reload
    kept.write(credentials);
    if (!stay.media) await offer(); // else the server offers
  } catch (error) {
    if (error.code !== "LOST") refused(error);
  }
}

// Sound.

function connection() {
  peer?.close();
  peer = new RTCPeerConnection({ iceServers });
  const own = peer;
  for (const track of microphone.getTracks()) peer.addTrack(track, microphone);
  peer.ontrack = ({ track, streams }) => {
    at("sound").srcObject = streams[0] ?? new MediaStream([track]);
    at("sound").play().catch(() => complain(words.NO_SOUND_YET));
  };
  peer.onicecandidate = ({ candidate }) =>
    peer === own && own.trickles &&
    channel.send("candidate", { session, candidate: candidate?.candidate ?? null, mid: candidate?.sdpMid ?? null })
      .catch(() => {});
  peer.onconnectionstatechange = () => {
    if (peer !== own) return;
    if (own.connectionState === "connected") {
      show("in");
      setMuted(muted);
    } else if (own.connectionState === "failed") complain(words.NO_PATH);
  };
  return peer;
}

async function offer() {
  const own = connection();
  await own.setLocalDescription();
  await gathered(own);
  try {
    const { sdp } = await channel.send("offer", { session, sdp: own.localDescription.sdp });
    own.trickles = true;
    if (peer === own) await own.setRemoteDescription({ type: "answer", sdp });
  } catch (error) {
    if (error.code !== "LOST") complain(words.refused(error));
  }
}

async function answer({ sdp, fresh }) {
  const own = fresh || !peer ? connection() : peer;
  await own.setRemoteDescription({ type: "offer", sdp });
  await own.setLocalDescription();
  await gathered(own);
  if (peer === own) await channel.send("answer", { session, sdp: own.localDescription.sdp });
  own.trickles = true;
}

/** Candidates of this machine are there at once: with them in the description, one message less is needed. */
function gathered(own) {
  if (own.iceGatheringState === "complete") return null;
  return new Promise((done) => {
    setTimeout(done, GATHER_MS);
    own.addEventListener("icegatheringstatechange", () => own.iceGatheringState === "complete" && done());
  });
}

// What the server says.

function hear(frame) {
  if (frame.session && frame.session !== session && frame.type !== "event") return;
  if (frame.type === "offer") answer(frame).catch((error) => complain(words.refused(error)));
  else if (frame.type === "ended") {
    peer?.close();
    complain(words.ended(frame));
    at("again").hidden = false;
  } else if (frame.type === "notice" && frame.code === "TAKEN_OVER") out("out", words.TAKEN_OVER, true);
  else if (frame.type === "event") happened(frame.event);
}

function happened({ kind, seq, data }) {
  seen = Math.max(seen, seq);
  const who = people.get(data.participant);
  if (kind === "participant.joined") people.set(data.participant, { name: data.display_name || data.user, muted: false });
  else if (kind === "participant.left") people.delete(data.participant);
  else if (who && kind === "participant.muted") who.muted = true;
  else if (who && kind === "participant.unmuted") who.muted = false;
  else if (kind === "session.ended") return out("over");
  else return;
  if (data.participant !== mine && seq > caughtUp) at("said").textContent = words.happened(kind, who ?? people.get(data.participant));
  list();
}

function silence(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

function refused(error) {
  out("out", words.refused(error));
  if (error.code === "UNAUTHORIZED") at("token")?.select();
}

function out(state, text = "", keep = false) {
  channel?.close();
  peer?.close();
  silence(microphone);
  turn++;
  people.clear();
  list();
  channel = peer = microphone = mine = null;
  joined = false;
  seen = 0;
  if (!keep) kept.clear();
  at("again").hidden = true;
  show(state);
  complain(text);
}

// The person.

at("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  const credentials = { ...given, name: at("name").value.trim() || given.name };
  if (at("token")) credentials.token = at("token").value.trim();
  enter(credentials, false);
});

at("mute").addEventListener("click", async () => {
  setMuted(!muted);
  await channel.send("mute", { session, on: muted }).catch((error) => complain(words.refused(error)));
});

at("again").addEventListener("click", () => {
  at("again").hidden = true;
  complain("");
  offer();
});

at("leave").addEventListener("click", async () => {
  await channel?.send("leave", { session }).catch(() => {});
  out("left");
});

const hash = new URLSearchParams(location.hash.slice(1)); // what follows # is sent to nobody
const given = { token: hash.get("token") ?? page.dataset.token, user: hash.get("user"), name: hash.get("name") };
if (given.token) at("with-token")?.remove();
if (given.name) at("name").value = given.name;
if (location.hash) history.replaceState(null, "", location.pathname);
const before = kept.read();
list();
show("out");
if (before) enter(before, true);
else if (!navigator.mediaDevices?.getUserMedia) complain(words.INSECURE);
