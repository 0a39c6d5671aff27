// What is said when something does not work: what happened, and what can be done about it.

export const INSECURE =
  "Browsers give the microphone only to pages on https:// or on localhost. Open this page by an https:// address " +
  "(put a proxy with TLS in front of Ringway), or on the machine that runs it.";
export const NO_WEBRTC = "This browser cannot make calls: it has no WebRTC.";
export const UNREACHABLE = "The server cannot be reached. Trying again…";
export const CALL_LOST = "The connection to the server was lost, and the call with it. Connecting again…";
export const LINE_LOST = "The connection to the server was lost. Connecting again…";
export const NO_PATH =
  "The call was connected, but no sound can get through: a firewall between this browser and the server blocks UDP.";
export const ASKING = "The browser asks whether this page may use the microphone. Allow it, and the call begins.";
export const SILENT = "Nothing arrives from the other side.";

/** Why there is no microphone; `error` is what getUserMedia threw. */
export function microphone(error) {
  switch (error?.name) {
    case "NotAllowedError":
    case "SecurityError":
      return "The microphone is not allowed. Allow it for this page (the symbol beside the address), then call again.";
    case "NotFoundError":
    case "OverconstrainedError":
      return "No microphone was found. Plug one in, or choose another below.";
    case "NotReadableError":
    case "AbortError":
      return "The microphone does not answer; another program may be using it.";
    default:
      return `The microphone cannot be used (${error?.message || error}).`;
  }
}

/** Why the server did not let an extension in; `response` may be missing. */
export function signIn(extension, response, cause) {
  switch (response?.status_code) {
    case 401:
    case 403:
    case 407:
      return `Extension ${extension} or its password is wrong.`;
    case 404:
      return `There is no extension ${extension} here.`;
    case 423:
    case 503:
      return "The server takes no more phones at the moment. Try again in a while.";
    default:
      return response
        ? `The server refused to sign ${extension} in (${answer(response)}).`
        : `The server did not answer (${cause}).`;
  }
}

/** Why a call that we made came to nothing; null when there is nothing to explain. */
export function callFailed(number, response, cause) {
  switch (response?.status_code) {
    case 486:
    case 600:
      return `${number} is busy.`;
    case 404:
    case 604:
      return `The number ${number} does not exist.`;
    case 410:
      return `The number ${number} is no longer in use.`;
    case 484:
      return `The number ${number} is not complete.`;
    case 480:
      return /answer/i.test(response.reason_phrase ?? "")
        ? `${number} does not answer.`
        : `${number} cannot be reached: nobody is signed in there, or nobody answers.`;
    case 408:
      return `${number} does not answer.`;
    case 403:
      return `You may not call ${number}.`;
    case 401:
    case 407:
      return "The server no longer takes your password. Sign in again.";
    case 487:
      return null;
    case 488:
    case 606:
      return `${number} and this browser have no way to exchange sound in common.`;
    case 503:
      return "The server has no free line at the moment. Try again in a while.";
    case 603:
      return `${number} declined the call.`;
    default:
      break;
  }
  if (response) return `The call to ${number} failed (${answer(response)}).`;
  switch (cause) {
    case "Canceled":
      return null;
    case "Connection Error":
      return CALL_LOST;
    case "Request Timeout":
      return "The server does not answer.";
    default:
      return `The call to ${number} failed (${cause}).`;
  }
}

function answer(response) {
  return `${response.status_code} ${response.reason_phrase ?? ""}`.trim();
}

/** Seconds as m:ss or h:mm:ss. */
export function duration(seconds) {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
  const two = (value) => String(value).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
