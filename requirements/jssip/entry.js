import JsSIP from "jssip";

export const { UA, WebSocketInterface, URI, C, debug, name, version } = JsSIP;
export default JsSIP;
