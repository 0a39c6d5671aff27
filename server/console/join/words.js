// What is said: where the person is, what happened, and what can be done about what does not work.

export const STATES = {
  out: "This page joins the conversation with your microphone.",
  asking: "Allow the microphone when the browser asks for it.",
  joining: "Joining…",
  in: "You are in the conversation.",
  lost: "The connection to the server was lost. Connecting again…",
  left: "You have left the conversation.",
  over: "The conversation has ended.",
};
export const TAKEN_OVER = "You joined this conversation in another window, and it goes on there.";
export const INSECURE =
  "Browsers give the microphone only to pages on https:// or on localhost. Open this page by an https:// address.";
export const NO_PATH = "No sound can get through: a firewall between this browser and the server blocks it.";
export const NO_SOUND_YET = "The browser holds the sound back. Press Mute or any other button once.";

/** Why there is no microphone; `error` is what getUserMedia threw. */
export function microphone(error) {
  switch (error.name) {
    case "NotAllowedError":
    case "SecurityError":
      return "The microphone is not allowed. Allow it for this page (the symbol beside the address), then join again.";
    case "NotFoundError":
      return "No microphone was found. Plug one in, then join again.";
    case "NotReadableError":
      return "The microphone does not answer; another program may be using it.";
    default:
      return `The microphone cannot be used (${error.message}).`;
  }
}

/** Why a command came to nothing; `error` is what the channel rejected with. */
export function refused(error) {
  switch (error.code) {
    case "UNAUTHORIZED":
      return "The access token is wrong, or has expired.";
    case "FORBIDDEN":
      return "You may not join this conversation.";
    case "UNKNOWN_SESSION":
      return "There is no such conversation, or it has ended long ago.";
    case "WRONG_STATE":
    case "SESSION_NOT_ACTIVE":
      return `That is not possible now: ${error.message}.`;
    case "LIMIT_REACHED":
      return "The conversation, or the server, is full. Try again in a while.";
    case "MEDIA_REFUSED":
      return "This browser and the server have no way to exchange sound in common.";
    case "SILENT":
      return "The server does not answer.";
    default:
      return `That did not work: ${error.message || error}`;
  }
}

/** Why the sound is over; `frame` is the server's. */
export function ended({ status, reason }) {
  return status < 300 ? "The call was hung up." : `The sound has ended: ${reason || status}.`;
}

/** For who listens to the page. */
export function happened(kind, person) {
  const name = person?.name ?? "Somebody";
  switch (kind) {
    case "participant.joined":
      return `${name} has joined.`;
    case "participant.left":
      return `${name} has left.`;
    case "participant.muted":
      return `${name} is muted.`;
    default:
      return `${name} can be heard again.`;
  }
}
