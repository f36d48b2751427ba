"""Random requests for the routes of a random world: mostly almost right, each wrong in its own way."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from urllib.parse import quote

from tests.e2e.lane_worlds import LaneRoute, World
from tests.e2e.object_keys import corpus

CASE_HEADER = "x-case"
ANSWER_HEADER = "x-answer"

_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_CORPUS = tuple(key for key in corpus() if len(key.path) < 2000)
_METHODS = ("GET",) * 12 + ("HEAD",) * 3 + ("DELETE",) * 2 + ("PUT", "POST", "OPTIONS", "get", "PROPFIND", "TRACE")
_NAMES = (
    "list-type",
    "prefix",
    "delimiter",
    "max-keys",
    "marker",
    "x-id",
    "encoding-type",
    "continuation-token",
    "start-after",
)
_MORE_NAMES = (
    "uploads", "partNumber", "versionId", "tagging", "acl", "policy", "List-Type", "%6Cist-type", "pre%66ix", "a+b",
    "a b", "x", "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Algorithm", "x-amz-date", "", "K\u0131",
    "max-\u212aeys",
)  # fmt: skip
_VALUES = (
    "", "2", "a/b", "a%2Fb", "a+b", "a%20b", "a%2Bb", "a b", "=", "a=b", "%", "%zz", "%7E", "~", "%7e", "?", "a?b",
    "{x}", "[x]", "|", "\\", "^", "`", "'", "(x)", "*", "!", ";", "a;b", ",", "@", ":", "$", "<x>", '"x"', "%C3%A9",
    "%c3%a9", "%00", "%0A", "x" * 500,
)  # fmt: skip
_PLAIN_TAILS = (
    "", "x", "plain/x.json", "plain/", "a/b/c.txt", "deep/a/b", "~user/x", "plain/x.json/y", "x." + "y" * 300,
)  # fmt: skip
_HEADERS = (
    ("accept", "*/*"), ("Accept-Encoding", "gzip"), ("Range", "bytes=0-9"), ("If-None-Match", '"x"'),
    ("User-Agent", "lanes/1"), ("Authorization", "Basic eDp5"),
    ("authorization", "AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host, Signature=00"),
    ("Proxy-Authorization", "Basic eDp5"), ("Cookie", "a=b; c=d"), ("X-Forwarded-For", "1.2.3.4"),
    ("X-Forwarded-Host", "forged"), ("X-Request-Id", "given"), ("X-Apostille-Consumer", "forged"),
    ("x-apostille-reason", "forged"), ("x-apostille-program", "forged"), ("x-apostille-target", "/forged"),
    ("X-Apostille-Status", "500"), ("x-envoy-upstream-rq-timeout-ms", "1"), ("x-envoy-original-path", "/forged"),
    ("x-envoy-auth-headers-to-remove", "x-case"), ("Content-Type", "text/plain"),
    ("Content-Type", "application/grpc"), ("Content-MD5", "x"), ("Content-Encoding", "gzip"),
    ("content-encoding", "aws-chunked"), ("x-odd", "caf\xe9"), ("x-odd", "\xff\xfe"), ("x-blank", ""),
    ("x-tab", "a\tb"), ("x-long", "l" * 8000), ("Expect", "100-continue"), ("TE", "trailers"),
    ("Connection", "keep-alive"), ("connection", "te"), ("Upgrade", "websocket"), ("Origin", "https://example.com"),
    ("Forwarded", "for=1.2.3.4"), ("Via", "1.1 x"), ("x_under", "score"), ("x!odd#name", "v"),
    ("x-http-method-override", "PUT"), ("x-original-url", "/other"), ("Content-Language", "de"),
    ("Date", "yesterday"), ("Keep-Alive", "timeout=5"), ("Trailer", "x-t"), ("Max-Forwards", "0"),
    ("traceparent", "00-0-0-00"), ("Server", "me"),
)  # fmt: skip
_AMZ = (
    ("x-amz-date", "20200101T000000Z"), ("x-amz-security-token", "forged"), ("x-amz-region-set", "*"),
    ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"), ("x-amz-content-sha256", _EMPTY),
    ("X-Amz-Content-Sha256", _EMPTY.upper()), ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
    ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), ("x-amz-content-sha256", "nonsense"),
    ("x-amz-content-sha256", ""), ("x-amz-content-sha256", "ab" * 32), ("x-amz-meta-color", "red"),
    ("x-amz-meta-color", "a  b"), ("x-amz-meta-color", ""), ("x-amz-meta-color", "\xe9"),
    ("X-Amz-Acl", "public-read"), ("x-amz-acl", ""), ("x-amz-copy-source", "/example-bucket/plain/one"),
    ("x-amz-copy-source", "/other/x"), ("x-amz-checksum-mode", "ENABLED"), ("x-amz-checksum-mode", ""),
    ("x-amz-request-payer", "requester"), ("x-amz-user-agent", "aws-sdk"),
    ("x-amz-bypass-governance-retention", "true"), ("x-amz-", "x"), ("x-amz", "x"), ("x-amz-mfa", "\xff"),
    ("amz-sdk-invocation-id", "1"), ("amz-sdk-request", "attempt=1"), ("x-amz-te", "\t a \t"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request. Header values are latin-1: any byte may stand in them. `framing`: ``length``, ``chunked``, ``zero`` (a
    length of 0 in words) or ``none``. `answer`: number of the answer that the upstream is to give."""

    route: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    framing: str = "none"
    answer: int = 0

    def emit(self, case: str) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1", "Host: gateway.example"]
        lines += [f"{CASE_HEADER}: {case}", f"{ANSWER_HEADER}: {self.answer}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        body = b""
        if self.framing == "length":
            lines.append(f"Content-Length: {len(self.body)}")
            body = self.body
        elif self.framing == "zero":
            lines.append("Content-Length: 0")
        elif self.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
            body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in _halves(self.body)) + b"0\r\n\r\n"
        head = "\r\n".join(lines) + "\r\n\r\n"
        return head.encode("latin-1", "xmlcharrefreplace") + body

    def simpler(self) -> Iterator[Ask]:
        """The same with one thing less."""
        for index in range(len(self.headers)):
            yield replace(self, headers=(*self.headers[:index], *self.headers[index + 1 :]))
        for index, (name, value) in enumerate(self.headers):
            if len(value) > 1:
                shorter = (name, value[: len(value) // 2])
                yield replace(self, headers=(*self.headers[:index], shorter, *self.headers[index + 1 :]))
        if self.framing != "none":
            yield replace(self, framing="none", body=b"")
        if len(self.body) > 1:
            yield replace(self, body=self.body[: len(self.body) // 2])
        path, mark, query = self.target.partition("?")
        if mark:
            yield replace(self, target=path)
            parts = query.split("&")
            if len(parts) > 1:
                for index in range(len(parts)):
                    yield replace(self, target=f"{path}?{'&'.join((*parts[:index], *parts[index + 1 :]))}")
        if len(path) > 5:
            yield replace(self, target=path[:-1] + mark + query)
        if self.method != "GET":
            yield replace(self, method="GET")
        if self.answer:
            yield replace(self, answer=0)


def _halves(body: bytes) -> list[bytes]:
    middle = len(body) // 2
    return [part for part in (body[:middle], body[middle:]) if part]


def make_ask(random: Random, world: World) -> Ask:
    """Half of them are such that one oddity is all that they may have."""
    route = random.choice(world.routes)
    tidy = random.random() < 0.5
    headers: list[tuple[str, str]] = []
    if route.keys is not None:
        headers += _make_keys(random, route, world)
    # A request that is right in all but one or two ways finds more than one that is wrong in all.
    headers += random.choices(_HEADERS, k=random.choice((0, 0, 0, 0, 1, 1, 2, 5)))
    if (route.sign is not None and random.random() < 0.3) or random.random() < 0.05:
        headers += random.choices(_AMZ, k=random.choice((1, 1, 1, 2, 3)))
    if random.random() < 0.05 and headers:
        headers.append(random.choice(headers))
    headers = [header for n, header in enumerate(headers) if not _is_void_again(header, headers[:n])]
    random.shuffle(headers)
    method = route.method if route.method is not None and random.random() < 0.8 else random.choice(_METHODS)
    if tidy and route.method is None:
        method = random.choice(("GET", "GET", "GET", "HEAD"))
    framing, body = _make_body(random, method) if not tidy or random.random() < 0.1 else ("none", b"")
    return Ask(
        route=route.name,
        method=method,
        target=_make_target(random, route, tidy=tidy),
        headers=tuple(headers),
        body=body,
        framing=framing,
        answer=random.choice((0,) * 12 + tuple(range(12))),
    )


def _is_void_again(header: tuple[str, str], before: list[tuple[str, str]]) -> bool:
    """An empty x-amz- header twice: the auth service sees a comma, Envoy's signer nothing. This difference is known."""
    name = header[0].lower()
    return not header[1].strip() and name.startswith("x-amz-") and any(name == other.lower() for other, _ in before)


def _make_keys(random: Random, route: LaneRoute, world: World) -> list[tuple[str, str]]:
    assert route.keys is not None
    name = random.choice((route.keys.header, route.keys.header.lower(), route.keys.header.title()))
    usable = [key for key in route.keys.keys if key.isascii() and key.isprintable()] or ["none"]
    right = random.choice(usable)
    others = [key for policy in world.keys for key in policy.keys if key.isascii() and key.isprintable()] or ["none"]
    chance = random.random()
    if chance < 0.8:
        return [(name, right)]
    if chance < 0.82:
        return []
    wrong = random.choice(
        (
            *(
                "",
                " ",
                "wrong",
                f"Bearer {right}",
                f"bearer {right}",
                f"Bearer  {right}",
                f"Basic {right}",
                f'"{right}"',
            ),
            *(f"{right},", f",{right}", f"{right},{right}", f"{right}x", f"{right} x", f"{right}; a=b", f"  {right}\t"),
            *(f"{right}\xff", f"\xff,{right}", f"{right},\xff", f"{right}\xa0", f"\u00e9{right}", f"{right}\x00"),
            *(right.swapcase(), right[:-1], quote(right, safe=""), random.choice(others), "x" * 5000),
        )
    )
    if chance < 0.93:
        return [(name, wrong)]
    lines = [right, wrong] if chance < 0.98 else [right, right, wrong]
    random.shuffle(lines)
    return [(name, line) for line in lines]


def _make_body(random: Random, method: str) -> tuple[str, bytes]:
    framing = random.choice(("none",) * 10 + ("length", "chunked", "chunked", "zero"))
    if method not in ("GET", "HEAD", "DELETE", "TRACE") and random.random() < 0.5:
        framing = random.choice(("length", "chunked"))
    size = random.choice((0, 1, 10, 1000, 3000)) if framing in ("length", "chunked") else 0
    return framing, bytes(random.choices(b"abc\r\n\x00\xff", k=size))


def _make_target(random: Random, route: LaneRoute, *, tidy: bool) -> str:
    path = route.path
    if tidy:
        path += "" if route.exact else random.choice((*_PLAIN_TAILS, random.choice(_CORPUS).spelling))
        if random.random() < 0.3:
            parts = (f"{random.choice(_NAMES)}={random.choice(_VALUES)}" for _ in range(random.choice((1, 1, 2, 4))))
            path += "?" + "&".join(parts).replace(" ", "%20")
        return path
    if not route.exact or random.random() < 0.1:
        path += _make_tail(random)
    if random.random() < 0.03:
        path = random.choice(
            (path.upper(), path.lower(), f"/{path}", path.rstrip("/"), f"http://elsewhere.example{path}")
        )
    if random.random() < 0.35:
        path += "?" + _make_query(random)
    return path


def _make_tail(random: Random) -> str:
    chance = random.random()
    if chance < 0.45:
        return random.choice(_PLAIN_TAILS)
    if chance < 0.65:
        return random.choice(_CORPUS).spelling
    if chance < 0.85:
        return random.choice(_CORPUS).path
    if chance < 0.95:
        raw = bytes(random.choices(range(256), k=random.randint(1, 12)))
        return quote(
            raw, safe=random.choice(("/~", "", string.punctuation.replace("%", "").replace("?", "").replace("#", "")))
        )
    marks = string.ascii_letters + string.digits + string.punctuation.replace("#", "") + "%%%///..."
    return "".join(random.choices(marks, k=random.randint(1, 12)))


def _make_query(random: Random) -> str:
    parts = []
    for _ in range(random.choice((0, 1, 1, 2, 3, 6))):
        name = random.choice(_NAMES if random.random() < 0.8 else _MORE_NAMES)
        value = random.choice(_VALUES) if random.random() < 0.7 else _random_value(random)
        parts.append(name if random.random() < 0.15 else f"{name}={value}")
    joint = "&" if random.random() < 0.95 else random.choice(("&&", ";", "&amp;"))
    return joint.join(parts).replace(" ", "%20") if random.random() < 0.98 else joint.join(parts)


def _random_value(random: Random) -> str:
    marks = string.ascii_letters + string.digits + string.punctuation.replace("#", "").replace("&", "") + "%%%+++"
    return "".join(random.choices(marks, k=random.randint(1, 12)))
