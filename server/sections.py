"""The sections of the configuration: strict models, each key with its type and default."""

from __future__ import annotations

import re
from email.utils import parseaddr
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from signalling import Pattern

from .fields import Printable

SERVICES: dict[str, Literal["echo", "tone"]] = {"600": "echo", "601": "tone"}
"What the demo server, and a file without [services], answers itself."


def _dial_pattern(text: str) -> str:
    Pattern.parse(text)
    return text


def _address(text: str) -> str:
    ip_address(text)
    return text


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _one_of_each_version(hosts: list[str]) -> list[str]:
    if len(hosts) == 2 and (":" in hosts[0]) == (":" in hosts[1]):
        raise ValueError(f"{hosts[0]} and {hosts[1]} are both IPv{6 if ':' in hosts[0] else 4}: give one of each")
    return hosts


def _network(text: str) -> str:
    ip_network(text)
    return text


def _port_range(text: str) -> str:
    first, dash, last = text.partition("-")
    if not (dash and first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
        raise ValueError('give the first and the last port, as in "40000-49999"')
    if not 1024 <= int(first) < int(last) <= 65535:
        raise ValueError("ports go from 1024 to 65535, the first below the last")
    return text


def split_listen(text: str) -> tuple[str, str, int]:
    """Transport in capitals, host without brackets, port. ValueError when `text` is none of that."""
    match = re.fullmatch(r"(udp|tcp):(?:\[([0-9a-f:.]+)\]|([0-9.]+)):([0-9]{1,5})", text, re.IGNORECASE)
    if match is None or int(match[4]) > 65535:
        raise ValueError('give transport, address and port, as in "udp:0.0.0.0:5060" or "tcp:[::]:5060"')
    return match[1].upper(), _address(match[2] or match[3]), int(match[4])


def _listen(text: str) -> str:
    split_listen(text)
    return text


def _link(text: str) -> str:
    if "{id}" not in text:
        raise ValueError("the link needs {id} where the invitation's id goes")
    return text


def _region(text: str) -> str:
    if text:
        from phonenumbers import SUPPORTED_REGIONS  # a tenth of a second that every start would pay for

        if text not in SUPPORTED_REGIONS:
            raise ValueError('give two capital letters of a country, as in "FR"')
    return text


def _ice_url(text: str) -> str:
    host = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?"
    if re.fullmatch(rf"stuns?:{host}|turns?:{host}(\?transport=(udp|tcp))?", text) is None:
        raise ValueError('give a URL as in "stun:stun.example.com" or "turn:turn.example.com:3478?transport=udp"')
    return text


def _sender(text: str) -> str:
    if text and "@" not in parseaddr(text)[1]:
        raise ValueError('give an address, or "Name <address>"')
    return text


def _http(text: str) -> str:
    if text and not text.startswith(("https://", "http://")):
        raise ValueError("give a URL that begins with https:// or http://")
    return text


Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Number = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[0-9A-Za-z+*#_.-]+$")]
Line = Annotated[str, Field(max_length=128), Printable]
_NO_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
DIAL_PATTERN = rf"^([^\[.!{_NO_CONTROL}]|\[[^\]{_NO_CONTROL}]+\])*[.!]?$"
"What `Pattern.parse` says, for a JSON schema, but for ranges that run backwards."
DialPattern = Annotated[
    str,
    Field(min_length=1, max_length=64, json_schema_extra={"pattern": DIAL_PATTERN}),
    Printable,
    AfterValidator(_dial_pattern),
]
Address = Annotated[str, AfterValidator(_address)]
Addresses = Annotated[
    list[Address],
    Field(min_length=1, max_length=2),
    BeforeValidator(_one_or_more),
    AfterValidator(_one_of_each_version),
]
"An address, or one of each IP version."
Network = Annotated[str, AfterValidator(_network)]
Port = Annotated[int, Field(ge=1, le=65535)]
Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)$")]
Tenant = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
TenantPath = Annotated[
    str, Field(max_length=65, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}/[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$")
]
Id = Annotated[str, Field(min_length=1, max_length=256), Printable]
TokenRole = Literal["admin", "token", "host", "member", "viewer"]
"""admin: anything in its tenant, for any of its users. host, member, viewer: that role in every channel of its tenant.
token: only what its user takes part in, and what it made itself."""
ChannelRole = Literal["host", "member", "viewer"]
TokenScope = Literal["sessions:read", "sessions:write", "sessions:join", "events", "admin"]
Claim = Annotated[str, Field(max_length=64), Printable]
SAFE_URL = re.compile(r"https://|http://(localhost|127\.0\.0\.1|\[::1\])[:/]")
Secret = Annotated[SecretStr, Field(min_length=1, max_length=256)]
Url = Annotated[str, Field(max_length=512), Printable, AfterValidator(_http)]
IceUrl = Annotated[str, Field(max_length=300), AfterValidator(_ice_url)]
Sender = Annotated[str, Field(max_length=320), Printable, AfterValidator(_sender)]
Codec = Literal["PCMU", "PCMA", "G722", "opus"]
MediaMode = Literal["anchor", "bypass"]


class Section(BaseModel):
    """A table of the file: strict types, no unknown keys."""

    # Built when first used: most are only ever used as a part of Config, and building each costs start-up time.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


class Server(Section):
    """HTTP, logs, and whose server it is."""

    account: Tenant = "default"
    app: Tenant = "default"
    "Account and app of the phones, the trunks, and of all that says nothing else."

    host: Address = "127.0.0.1"
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    "0 takes a free port."
    extra_http_ports: list[Port] = []
    "More ports with the same API, such as the PBX dialect's 8887."
    cors_origins: list[Line] = ["*"]
    websocket_origins: list[Line] = []
    "Web pages of other hosts that may open WebSockets; a star stands for all."
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = "auto"


class Database(Section):
    """What outlives the process, and where."""

    url: Annotated[str, Field(max_length=512), Printable] = ""
    """`sqlite:///FILE`, `postgresql://USER:PASSWORD@HOST/NAME`, or `none` for a database in memory that ends with the
    process; empty: `ringway.db` in the data folder."""
    data_dir: Annotated[str, Field(min_length=1, max_length=1024), Printable] = "var"
    "The data folder, as seen from where the server is started: database, spool, keys."
    spool_mb: Annotated[int, Field(ge=16, le=1_000_000)] = 512
    "What may wait on disk while the database is away."


KeptDays = Annotated[float, Field(ge=0, le=100_000)]


class Retention(Section):
    """For how many days each kind of record is kept; 0: for ever. docs/database.md says what goes with what."""

    sessions: KeptDays = 0.0
    "After their end, with participants, calls and all that hangs on them."
    events: KeptDays = 30.0
    chat: KeptDays = 90.0
    artefacts: KeptDays = 7.0
    "Recordings, transcripts and summaries, after the end of the session."
    app_sessions: KeptDays = 90.0
    "After they were registered, with their logs."
    delivered: KeptDays = 7.0
    "Of webhooks, mail and text messages, after delivery."
    dead: KeptDays = 30.0
    "Of those that could not be delivered."
    tokens: KeptDays = 30.0
    "After they expired or were revoked."


class Sip(Section):
    """Where phones and trunks reach us, and what we call ourselves."""

    listen: Annotated[list[Annotated[str, AfterValidator(_listen)]], Field(min_length=1)] = [
        "udp:0.0.0.0:5060",
        "tcp:0.0.0.0:5060",
    ]
    advertised_host: Host | None = None
    domain: Host | None = None
    user_agent: Annotated[str, Field(min_length=1, max_length=64), Printable] = "Ringway"
    local_networks: list[Network] = []

    @property
    def first_host(self) -> str:
        """The address listened on first."""
        return split_listen(self.listen[0])[1]

    @property
    def hosts(self) -> list[str]:
        """The address listened on first, of each IP version that is listened on."""
        hosts: dict[bool, str] = {}
        for listen in self.listen:
            host = split_listen(listen)[1]
            hosts.setdefault(":" in host, host)
        return list(hosts.values())


class Media(Section):
    """Where RTP is received, and what it may hold."""

    ports: Annotated[str, AfterValidator(_port_range)] = "40000-49999"
    bind_host: Addresses = []
    "Empty: where SIP listens."
    advertised_host: Addresses = []
    "Empty: as SIP."
    codecs: Annotated[list[Codec], Field(min_length=1)] = ["PCMU", "PCMA", "G722", "opus"]
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0

    @property
    def port_range(self) -> tuple[int, int]:
        """First and last port."""
        first, _, last = self.ports.partition("-")
        return int(first), int(last)


class IceServer(Section):
    """A STUN or TURN server that browsers are told of (RFC 7064, RFC 7065)."""

    urls: Annotated[list[IceUrl], Field(min_length=1, max_length=8)]
    username: Line | None = None
    credential: Secret | None = None
    secret: Secret | None = None
    "Shared with a TURN server, which then takes credentials of ours that expire (coturn: `static-auth-secret`)."

    @model_validator(mode="after")
    def _complete(self) -> IceServer:
        fixed = self.username is not None and self.credential is not None
        if (self.username is None) != (self.credential is None) or (fixed and self.secret is not None):
            raise ValueError("give username and credential, or secret alone")
        if not fixed and self.secret is None and any(url.startswith("turn") for url in self.urls):
            raise ValueError("a TURN server needs username and credential, or secret")
        return self


class WebRtc(Section):
    """What browsers need to reach us from where UDP does not come through. No server is asked by default."""

    ice_servers: Annotated[list[IceServer], Field(max_length=8)] = []
    credential_lifetime_s: Annotated[int, Field(ge=60, le=604_800)] = 43_200
    "Of credentials made from `secret`; a call that goes through the TURN server ends with them."


class Limits(Section):
    """Beyond these, 503 with Retry-After."""

    sessions: Annotated[int, Field(ge=1, le=1_000_000)] = 5000
    calls_per_extension: Annotated[int, Field(ge=1, le=1000)] = 4
    early_dialogs: Annotated[int, Field(ge=1, le=1_000_000)] = 2000
    ended_sessions: Annotated[int, Field(ge=0, le=1_000_000)] = 1000
    retention_s: Annotated[float, Field(ge=0)] = 600.0
    retry_after_s: Annotated[int, Field(ge=1, le=3600)] = 5


class Extension(Section):
    """A number of ours that phones register."""

    number: Number
    password: Secret
    display_name: Line | None = None
    allow: list[DialPattern] = []
    "What it may dial through trunks; nothing by default."
    max_calls: Annotated[int, Field(ge=1, le=1000)] | None = None
    ring_timeout_s: Annotated[float, Field(gt=0, le=600)] = 60.0


class Trunk(Section):
    """A carrier or another PBX; each key as sip.TrunkConfig describes it."""

    name: Name
    hosts: Annotated[list[Line], Field(min_length=1, max_length=16)]
    username: Line | None = None
    password: Secret | None = None
    register_: Annotated[bool, Field(alias="register")] = False
    registrar: Line | None = None
    register_expires_s: Annotated[int, Field(ge=60, le=86_400)] = 3600
    inbound_sources: list[Network] = []
    from_user: Line = "caller"
    from_host: Line = ""
    from_display: Line = "caller"
    pai: Line = ""
    rpi: Line = ""
    privacy: Literal["never", "caller", "always"] = "caller"
    number_format: Literal["as_is", "e164", "e164_plus"] = "as_is"
    country_code: Annotated[str, Field(pattern=r"^[1-9]?[0-9]{0,2}$")] = ""
    national_prefix: Annotated[str, Field(pattern=r"^[0-9]{0,4}$")] = "0"
    international_prefix: Annotated[str, Field(pattern=r"^[0-9+]{0,5}$")] = "00"
    strip_prefix: Annotated[str, Field(pattern=r"^[0-9+*#]{0,16}$")] = ""
    add_prefix: Annotated[str, Field(pattern=r"^[0-9+*#]{0,16}$")] = ""
    codecs: list[Codec] = []
    max_calls: Annotated[int, Field(ge=1)] | None = None
    max_calls_per_s: Annotated[float, Field(gt=0)] | None = None
    options_interval_s: Annotated[float, Field(ge=0, le=3600)] = 30.0
    options_misses: Annotated[int, Field(ge=1, le=100)] = 3
    answer_timeout_s: Annotated[float, Field(gt=0, le=180)] = 10.0
    ring_timeout_s: Annotated[float, Field(gt=0, le=600)] = 60.0
    media: MediaMode = "anchor"
    allow: list[DialPattern] = []
    "What calls that come in through it may dial through trunks; nothing by default."

    @model_validator(mode="after")
    def _complete(self) -> Trunk:
        if self.register_ and not (self.username and self.password):
            raise ValueError("register = true needs username and password")
        if self.password is not None and not self.username:
            raise ValueError("password needs a username beside it")
        return self


class RouteTrunk(Section):
    """One trunk of a route: lower priority first, among equals by weight."""

    trunk: Name
    priority: Annotated[int, Field(ge=0, le=65535)] = 1
    weight: Annotated[int, Field(ge=1, le=65535)] = 1


class Route(Section):
    """Dialled numbers and the trunks that carry them; the first route that matches is taken."""

    pattern: DialPattern
    trunks: Annotated[list[RouteTrunk], Field(min_length=1, max_length=32)]
    media: MediaMode | None = None


class InboundNumber(Section):
    """A number that trunks call us by, and where it leads: an extension, a service number, `echo` or `tone`."""

    number: DialPattern
    to: Number
    trunk: Name | None = None


class User(Section):
    """A person or program that takes part in sessions."""

    id: Id
    handle: Line | None = None
    "None: the id."
    display_name: Line | None = None
    image_url: Annotated[str, Field(max_length=2048), Printable] | None = None
    email: Annotated[str, Field(max_length=254), Printable] | None = None
    phone: Annotated[str, Field(pattern=r"^\+[1-9][0-9]{1,14}$")] | None = None
    "E.164."
    extensions: list[Number] = []
    "Whose phones are this user's."


class Users(Section):
    """Who takes part in sessions."""

    strict: bool = False
    "Whether an id that is not in the directory is refused; else it makes a user."
    people: list[User] = []


class Token(Section):
    """A bearer token of the REST API, in clear or as its SHA-256 in hex."""

    name: Name
    token: Annotated[SecretStr, Field(min_length=16, max_length=256)] | None = None
    token_sha256: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{64}$")] | None = None
    role: TokenRole = "token"
    tenant: TenantPath | None = None
    "account/app; None: that of [server]."
    user: Id | None = None
    "Whom it acts for."
    scopes: list[TokenScope] = []
    "What it is good for; empty: all that its role allows."
    channel_roles: dict[Id, ChannelRole] = {}
    "Channel id -> role, beside what `role` says."
    allow: list[DialPattern] = []
    "What it may dial through trunks."

    @model_validator(mode="after")
    def _one_secret(self) -> Token:
        if (self.token is None) == (self.token_sha256 is None):
            raise ValueError("give either token or token_sha256")
        return self


class Claims(Section):
    """Which claims of a JWT say what; an empty name: none does."""

    user: Annotated[str, Field(min_length=1, max_length=64)] = "sub"
    tenant: Claim = "tenant"
    "account/app; without it a JWT is of the server's own."
    scopes: Claim = "scope"
    "A list, or a text with spaces between. A JWT without it may do all that its role allows."
    role: Claim = "role"
    "As a token's `role`; `token` without it."
    roles: Claim = "roles"
    "An object: channel id -> role."


class Jwt(Section):
    """Whose JWTs are taken: exactly one kind of key, and what they must say."""

    issuer: Line | None = None
    audience: Line | None = None
    secret: Annotated[SecretStr, Field(min_length=32, max_length=1024)] | None = None
    "HS256."
    public_key: Annotated[str, Field(max_length=4096)] | None = None
    "EdDSA: an Ed25519 or Ed448 public key in PEM."
    jwks_url: Url | None = None
    "A JWK set with keys for EdDSA, ES256 or RS256."
    leeway_s: Annotated[int, Field(ge=0, le=300)] = 30
    claims: Claims = Claims()

    @model_validator(mode="after")
    def _one_key(self) -> Jwt:
        if [self.secret, self.public_key, self.jwks_url].count(None) != 2:
            raise ValueError("give one of secret, public_key and jwks_url")
        if self.public_key is not None and "PUBLIC KEY" not in self.public_key:
            raise ValueError("public_key is a PEM block that begins with -----BEGIN PUBLIC KEY-----")
        if self.jwks_url is not None and not SAFE_URL.match(self.jwks_url):
            raise ValueError("jwks_url begins with https://, or http:// of this machine")
        return self


class Auth(Section):
    """Who comes in besides the holders of [[tokens]]."""

    jwt: Jwt | None = None


class Api(Section):
    """What the documents of the dialects leave to whoever runs the server."""

    legacy_status: bool = False
    "CallSession: what is refused is answered with 200 and `error`, as the original does."
    open_callsession: bool = False
    "CallSession: needs no token, and believes who the body says is acting (G8)."
    open_app_sessions: bool = False
    "Channel dialect: app sessions are registered, and their logs taken, without a token."
    app_session_logs: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    "Entries of one app session."
    app_session_log_length: Annotated[int, Field(ge=1, le=60_000)] = 16_384
    "Characters of one entry."
    app_session_size: Annotated[int, Field(ge=1, le=1 << 30)] = 4 << 20
    "Bytes of all entries of one app session."
    public_url: Url = ""
    "How clients reach us: RealtimeKit's download links begin with it; empty: with what a request says itself."
    link_lifetime_s: Annotated[float, Field(ge=1, le=604_800)] = 3600.0
    "RealtimeKit: how long a download link is good."
    requests_per_10_s: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    "RealtimeKit: of one token; the original allows 250. 0: as many as there are."


class Invitations(Section):
    """Who is told of an invitation, and where its link leads."""

    link: Annotated[str, Field(max_length=512), Printable, AfterValidator(_link)] | None = None
    "None: the page /join/{id} of this server."
    default_region: Annotated[str, AfterValidator(_region)] = ""
    "Country of telephone numbers that are not written internationally; empty: they are refused."
    email: Literal["none", "resend", "smtp", "webhook"] = "none"
    phone: Literal["none", "twilio", "ring", "webhook"] = "none"
    ring_trunk: Name | None = None
    "Trunk that rings telephones; None: as the routes say."
    webhook_url: Url = ""
    webhook_secret: Secret | None = None
    pending_per_user: Annotated[int, Field(ge=1, le=100_000)] = 1000

    @model_validator(mode="after")
    def _complete(self) -> Invitations:
        if "webhook" in (self.email, self.phone) and not self.webhook_url:
            raise ValueError("delivery by webhook needs webhook_url")
        return self


class Webhooks(Section):
    """Where webhooks may go."""

    allow_private: bool = False
    "Whether also to this machine and its link-local neighbourhood, where clouds keep credentials."


class Resend(Section):
    """Mail by Resend."""

    api_key: Secret | None = None
    sender: Sender = ""
    base_url: Url = "https://api.resend.com"


class Twilio(Section):
    """Text messages by Twilio."""

    account_sid: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{0,64}$")] = ""
    auth_token: Secret | None = None
    sender: Line = ""
    "A number (E.164), an alphanumeric sender, or a messaging service: MG…"
    base_url: Url = "https://api.twilio.com"


class Smtp(Section):
    """Mail by an SMTP server."""

    host: Host | None = None
    port: Port = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: Line | None = None
    password: Secret | None = None
    sender: Sender = ""
    ca_file: Line = ""
    "Who signs the server's certificate; empty: whom this machine trusts."


class Config(Section):
    """The whole file."""

    server: Server = Server()
    database: Database = Database()
    retention: Retention = Retention()
    sip: Sip = Sip()
    media: Media = Media()
    webrtc: WebRtc = WebRtc()
    limits: Limits = Limits()
    services: dict[Number, Literal["echo", "tone"]] = SERVICES
    extensions: list[Extension] = []
    trunks: list[Trunk] = []
    routes: list[Route] = []
    numbers: list[InboundNumber] = []
    users: Users = Users()
    api: Api = Api()
    invitations: Invitations = Invitations()
    webhooks: Webhooks = Webhooks()
    resend: Resend = Resend()
    twilio: Twilio = Twilio()
    smtp: Smtp = Smtp()
    tokens: list[Token] = []
    auth: Auth = Auth()

    @model_validator(mode="after")
    def _configured(self) -> Config:
        wanted = self.invitations
        if wanted.email == "resend" and not (self.resend.api_key and self.resend.sender):
            raise ValueError('invitations.email = "resend" needs api_key and sender in [resend]')
        if wanted.email == "smtp" and not (self.smtp.host and self.smtp.sender):
            raise ValueError('invitations.email = "smtp" needs host and sender in [smtp]')
        if wanted.phone == "twilio" and not (self.twilio.account_sid and self.twilio.auth_token and self.twilio.sender):
            raise ValueError('invitations.phone = "twilio" needs account_sid, auth_token and sender in [twilio]')
        return self
