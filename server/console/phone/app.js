// The page: what is on the screen, and what fingers and keys do.

import { Phone } from "./phone.js";
import { Quality, grade } from "./quality.js";
import { Sound } from "./sound.js";
import * as words from "./words.js";

const SIGNED_IN = "ringway.phone"; // in this tab's storage: a reload need not ask again
const LAST_NUMBER = "ringway.number";
const QUALITY_MS = 2000;
const SILENT_MS = 6000;
const ASKING_MS = 700; // after which it is said that the browser waits for an answer
const LETTERS = { 2: "ABC", 3: "DEF", 4: "GHI", 5: "JKL", 6: "MNO", 7: "PQRS", 8: "TUV", 9: "WXYZ", 0: "+" };
const NAMES = { "*": "star", "#": "hash" };
const SERVICES = { echo: "Echo test", tone: "Test tone" };
const LINES = { off: "Signed out", connecting: "Signing in…", ready: "Ready", lost: "Connecting…" };

const $ = (id) => document.getElementById(id);
const here = new URL(".", location.href);
const socketUrl = new URL("sip", here.href.replace(/^http/, "ws")).href;
const phone = new Phone(socketUrl, location.hostname);
const sound = new Sound($("remote"));
const meters = { mine: null, theirs: null, test: null };
let line = "off";
let demo = { demo: [], services: {} };
let quality = null;
let asking = false; // for the microphone
let entered = false; // the server has let us in, or did before a reload
let failed = false; // the number in the field is one that could not be called
let testStream = null;

// Words on the screen and for the ear.

function notice(text, kind = "bad") {
  $("notice").hidden = !text;
  $("notice").dataset.kind = kind;
  $("notice-text").textContent = text ?? "";
}

function say(text) {
  $("said").textContent = text;
}

// Which part is seen.

function show() {
  const call = phone.call;
  const signedIn = phone.extension !== null && line !== "off" && entered;
  const part = call ? "call" : signedIn ? "dialler" : "login";
  for (const id of ["login", "dialler", "call"]) $(id).hidden = id !== part;
  $("phone").dataset.part = part;
  $("sign-out").hidden = !signedIn;
  $("devices").hidden = !signedIn || !sound.available;
  $("line").dataset.state = line;
  $("line-text").textContent = line === "ready" ? `${phone.extension} · ${LINES.ready}` : LINES[line];
  $("dial").disabled = line !== "ready";
  $("sign-in").disabled = line === "connecting";
}

function showCall() {
  const call = phone.call;
  if (!call) return;
  const service = SERVICES[demo.services[call.peer]];
  const name = call.name ?? service ?? call.peer;
  if ($("peer").textContent !== name) $("peer").textContent = name;
  $("avatar").textContent = /^\p{L}/u.test(name) ? name[0].toUpperCase() : "#";
  $("call").dataset.state = call.state;
  const talking = call.state === "talking";
  $("answer").hidden = call.state !== "incoming";
  $("hang-up").textContent = call.state === "incoming" ? "Reject" : call.state === "talking" ? "Hang up" : "Cancel";
  $("during").hidden = !talking;
  $("levels").hidden = !talking;
  if (!talking) $("quality").hidden = true;
  if (!talking) showKeys(false);
  press("mute", call.muted, call.muted ? "Unmute" : "Mute");
  press("hold", call.held, call.held ? "Resume" : "Hold");
  showState();
}

function showKeys(on) {
  $("keys").hidden = !on;
  $("call").classList.toggle("keyed", on);
  $("show-keys").setAttribute("aria-expanded", String(on));
}

/** Its words change with what it does, so it is no toggle for those who hear the page. */
function press(id, on, label) {
  $(id).classList.toggle("on", on);
  $(id).textContent = label;
}

function stateWords(call) {
  switch (call.state) {
    case "incoming":
      return call.name ? `${call.peer} is calling` : "is calling";
    case "dialling":
      return "Calling…";
    case "ringing":
      return "Ringing…";
    case "connecting":
      return "Connecting…";
    default: {
      const time = words.duration((Date.now() - call.since) / 1000);
      return call.held ? `On hold · ${time}` : call.heldByThem ? `They put you on hold · ${time}` : time;
    }
  }
}

function showState() {
  if (phone.call) $("state").textContent = stateWords(phone.call);
}

// Signing in.

async function begin() {
  makePads();
  if (!window.RTCPeerConnection) notice(words.NO_WEBRTC);
  else if (!window.isSecureContext || !sound.available) notice(words.INSECURE);
  show();
  try {
    demo = await (await fetch("phone/settings")).json();
  } catch {
    // the page works without them
  }
  showDemo();
  const kept = read(SIGNED_IN);
  entered = kept !== null;
  if (kept) phone.signIn(kept.extension, kept.password);
  else $("extension").focus();
}

function showDemo() {
  $("demo").hidden = !demo.demo.length;
  for (const { number, password } of demo.demo) {
    const button = element("button", { type: "button", className: "chip", textContent: number });
    button.setAttribute("aria-label", `Sign in as ${number}`);
    button.title = `Sign in as ${number}`;
    button.addEventListener("click", () => signIn(number, password));
    const item = element("li");
    item.append(button, element("span", { textContent: `password ${password}` }));
    $("demo-list").append(item);
  }
  for (const [number, name] of Object.entries(demo.services)) chip(number, SERVICES[name] ?? name);
  for (const { number } of demo.demo) chip(number, null);
  $("services").hidden = !$("services").children.length;
}

function chip(number, name) {
  const button = element("button", { type: "button", className: "chip", textContent: name ? `${number} ${name}` : number });
  button.dataset.number = number;
  button.addEventListener("click", () => dial(number));
  $("services").append(button);
}

function signIn(extension, password) {
  sound.wake();
  notice(null);
  entered = false;
  $("extension").value = extension;
  $("password").value = password;
  write(SIGNED_IN, { extension, password });
  phone.signIn(extension, password);
}

$("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn($("extension").value.trim(), $("password").value);
});

$("sign-out").addEventListener("click", () => {
  sessionStorage.removeItem(SIGNED_IN);
  phone.signOut();
  phone.extension = null;
  $("password").value = "";
  notice(null);
  show();
  $("extension").focus();
});

phone.addEventListener("line", ({ detail: { state, words: text } }) => {
  const before = line;
  line = state;
  entered = state === "off" ? false : entered || state !== "connecting";
  if (text) notice(text);
  else if (state === "ready" && before === "lost") notice(null);
  if (state === "off") {
    const refused = text !== null;
    if (refused) sessionStorage.removeItem(SIGNED_IN);
    show();
    if (refused) $("password").select();
    return;
  }
  show();
  for (const button of $("services").children) button.hidden = button.dataset.number === phone.extension;
  if (state === "ready" && before !== "ready") {
    say(`Ready. Signed in as ${phone.extension}.`);
    if (!phone.call && before !== "lost") focusNumber();
    showDevices();
  }
});

// Dialling.

/** Where there is a mouse there is a keyboard; elsewhere one on the screen would cover the pad. */
function focusNumber() {
  if (!matchMedia("(hover: hover)").matches) return;
  $("number").focus({ preventScroll: true });
  if (failed) $("number").select();
}

function makePads() {
  for (const [pad, press] of [["pad", type], ["call-pad", tone]]) {
    for (const digit of "123456789*0#") {
      const key = element("button", { type: "button" });
      key.dataset.digit = digit;
      key.append(element("b", { textContent: digit }), element("small", { textContent: LETTERS[digit] ?? "" }));
      key.setAttribute("aria-label", NAMES[digit] ?? digit);
      key.addEventListener("click", ({ detail: byPointer }) => {
        press(digit);
        if (byPointer && pad === "pad") focusNumber(); // or Enter would press the key again
      });
      $(pad).append(key);
    }
  }
  holdForPlus($("pad").querySelector('[data-digit="0"]'));
}

/** A long press on 0 types +, as on mobile phones. */
function holdForPlus(key) {
  let timer = null;
  const stop = () => clearTimeout(timer);
  key.addEventListener("pointerdown", () => {
    timer = setTimeout(() => {
      key.addEventListener("click", (event) => event.stopImmediatePropagation(), { once: true, capture: true });
      type("+");
    }, 600);
  });
  for (const end of ["pointerup", "pointerleave", "pointercancel"]) key.addEventListener(end, stop);
}

function type(digit) {
  if (digit !== "+") sound.key(digit);
  $("number").value = (failed ? "" : $("number").value) + digit;
  failed = false;
}

function erase() {
  $("number").value = $("number").value.slice(0, -1);
  failed = false;
}

function tone(digit) {
  if (phone.call?.state !== "talking") return;
  sound.key(digit);
  phone.digit(digit);
  $("keyed").textContent = ($("keyed").textContent + digit).slice(-24);
}

$("erase").addEventListener("click", erase);
$("number").addEventListener("input", () => {
  failed = false;
});

$("dial-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const number = $("number").value.replace(/[\s().-]/g, "");
  if (number) dial(number);
  else $("number").value = read(LAST_NUMBER) ?? ""; // once more
});

async function dial(number) {
  if (phone.call || asking || line !== "ready") return;
  sound.wake();
  notice(null);
  write(LAST_NUMBER, number);
  const stream = await microphone();
  if (!stream) return;
  if (phone.call || line !== "ready") stop(stream);
  else phone.dial(number, stream);
}

/** The microphone's stream; null, and the reason on the screen, when there is none. */
async function microphone() {
  if (!sound.available) {
    notice(words.INSECURE);
    return null;
  }
  asking = true;
  const slow = setTimeout(() => notice(words.ASKING, "mild"), ASKING_MS);
  try {
    const stream = await sound.microphone();
    if ($("notice-text").textContent === words.ASKING) notice(null);
    return stream;
  } catch (error) {
    notice(words.microphone(error));
    return null;
  } finally {
    clearTimeout(slow);
    asking = false;
    showDevices();
  }
}

// In a call.

$("answer").addEventListener("click", async () => {
  const call = phone.call;
  if (asking || call?.state !== "incoming") return;
  sound.wake();
  sound.quiet();
  const stream = await microphone();
  if (!stream) return;
  if (phone.call === call) phone.answer(stream);
  else stop(stream);
});

$("hang-up").addEventListener("click", () => phone.hangUp());
$("mute").addEventListener("click", () => {
  phone.mute(!phone.call.muted);
  say(phone.call.muted ? "Muted" : "No longer muted");
});
$("hold").addEventListener("click", () => {
  if (!phone.hold(!phone.call.held)) say("That cannot be changed just now; try again.");
});
$("show-keys").addEventListener("click", () => showKeys($("keys").hidden));
$("notice-close").addEventListener("click", () => notice(null));

let seen = null; // the call that is on the screen, and its state

phone.addEventListener("call", () => {
  const call = phone.call;
  const now = `${call.state} ${call.held} ${call.heldByThem}`;
  const isNew = seen?.call !== call;
  if (isNew) {
    $("keyed").textContent = "";
    showKeys(false);
    notice(null);
  }
  show();
  showCall();
  if (isNew || seen.now !== now) announce(call);
  if (isNew) $("peer").focus({ preventScroll: true });
  if (call.state === "ringing" && !call.early) sound.ringback();
  else if (call.state === "incoming") sound.ring();
  else sound.quiet();
  document.title = call.state === "incoming" ? `☎ ${call.name ?? call.peer}` : "In a call · Ringway";
  if (call.state === "talking") beginTalk(call);
  seen = { call, now };
});

function announce(call) {
  const who = call.name ?? call.peer;
  if (call.state === "incoming") say(`Incoming call from ${who}.`);
  else if (call.state === "talking") say(call.held ? "On hold." : call.heldByThem ? "They put you on hold." : `Talking to ${who}.`);
  else say(`${stateWords(call)} ${who}`);
}

function beginTalk(call) {
  if (quality?.connection !== phone.connection) quality = new Quality(phone.connection);
  if (meters.mine?.stream !== call.stream) {
    meters.mine?.close();
    meters.mine = { ...sound.meter(call.stream), stream: call.stream };
  }
}

phone.addEventListener("sound", ({ detail: { stream } }) => {
  sound.play(stream);
  meters.theirs?.close();
  meters.theirs = sound.meter(stream);
});

phone.addEventListener("over", ({ detail: { words: text, call } }) => {
  sound.quiet();
  sound.silence();
  meters.mine?.close();
  meters.theirs?.close();
  meters.mine = meters.theirs = quality = seen = null;
  document.title = "Phone · Ringway";
  const length = call.since ? ` after ${words.duration((Date.now() - call.since) / 1000)}` : "";
  notice(text);
  say(text ? "" : `Call ended${length}.`);
  failed = call.direction === "out" && text !== null && !call.since && $("number").value !== "";
  if (call.direction === "out" && !failed) $("number").value = ""; // what failed is there to be corrected
  show();
  if (!$("dialler").hidden) focusNumber();
});

// What is measured.

setInterval(showState, 500);

setInterval(async () => {
  const [call, measured] = [phone.call, quality];
  if (!measured || call?.state !== "talking") return;
  const found = await measured.read();
  if (measured !== quality) return;
  showQuality(found);
  warnOfSilence(call, found?.received ?? 0);
}, QUALITY_MS);

function showQuality(found) {
  $("quality").hidden = !found;
  if (!found) return;
  $("mos").textContent = `${found.mos.toFixed(1)} ${grade(found.mos)}`;
  $("quality").dataset.grade = grade(found.mos);
  $("jitter").textContent = `${found.jitter.toFixed(0)} ms`;
  $("loss").textContent = `${found.loss.toFixed(1)} %`;
  $("round-trip").textContent = found.roundTrip === null ? "–" : `${found.roundTrip.toFixed(0)} ms`;
}

function warnOfSilence(call, received) {
  if (call.received !== received || call.held || call.heldByThem) call.heardAt = Date.now();
  call.received = received;
  const silent = Date.now() - call.heardAt > SILENT_MS;
  if (silent !== Boolean(call.warned)) {
    call.warned = silent;
    notice(silent ? words.SILENT : null, "mild");
  }
}

function drawLevels() {
  for (const [name, meter] of Object.entries(meters)) {
    if (meter) $(`level-${name}`).style.transform = `scaleX(${meter.read().toFixed(3)})`;
  }
  requestAnimationFrame(drawLevels);
}
requestAnimationFrame(drawLevels);

// Devices.

async function showDevices() {
  const { microphones, speakers } = await sound.devices();
  for (const [id, entries] of [["microphone", microphones], ["speaker", speakers]]) {
    $(id).replaceChildren(...entries.map(({ id: value, label, chosen }) => new Option(label, value, chosen, chosen)));
  }
  $("speaker-choice").hidden = !sound.canChooseSpeaker || speakers.length < 2;
}

$("microphone").addEventListener("change", async () => {
  sound.chooseMicrophone($("microphone").value);
  if (testStream) await test(true);
  if (!phone.call?.stream) return;
  const stream = await microphone();
  if (stream) await phone.replaceMicrophone(stream);
});
$("speaker").addEventListener("change", () => sound.chooseSpeaker($("speaker").value));
$("try").addEventListener("click", () => test(!testStream));
$("devices").addEventListener("toggle", () => {
  if (!$("devices").open) test(false);
});
navigator.mediaDevices?.addEventListener("devicechange", showDevices);

/** The meter below the choice of microphone. */
async function test(on) {
  meters.test?.close();
  stop(testStream);
  meters.test = testStream = null;
  if (on) testStream = await microphone();
  if (testStream) meters.test = sound.meter(testStream);
  else $("level-test").style.transform = "scaleX(0)";
  press("try", Boolean(testStream), testStream ? "Stop the test" : "Test it");
}

// Keys: digits go to the pad that is seen, Backspace erases one, Escape ends or erases all.

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, select")) {
    if (event.key !== "Escape") return;
  }
  if (event.key === "Escape") {
    if (phone.call) phone.hangUp();
    else if (!$("dialler").hidden) $("number").value = "";
  } else if (/^[0-9*#]$/.test(event.key)) {
    if (phone.call) tone(event.key);
    else if (!$("dialler").hidden) type(event.key);
  } else if (!phone.call && !$("dialler").hidden) {
    if (event.key === "+") type("+");
    else if (event.key === "Backspace") erase();
  }
});

window.addEventListener("pagehide", () => phone.hangUp());

// Small things.

function element(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}

function stop(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

function read(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key));
  } catch {
    return null;
  }
}

function write(key, value) {
  try {
    sessionStorage.setItem(key, JSON.stringify(value));
  } catch {
    // a reload asks again
  }
}

begin();
