"""The canonical forms of AWS Signature Version 4, and the one spelling of a request target that should be sent.

It knows no keys and no time. Rules: "Create a signed AWS API request" in the IAM User Guide, and "Authenticating
Requests (AWS Signature Version 4)" in the Amazon S3 API Reference.

Many spellings denote one object, and only one of them is signed. Whoever signs one spelling and sends another depends
on the receiver making the same of both. So a gateway sends `canonical_target`: what is signed is what is on the wire.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote_from_bytes, unquote_to_bytes

from apostille.base.headers import is_header_name, is_header_value

# Services that take the path as a name of bytes: encoded once, nothing normalised.
_S3_SERVICES = frozenset({"s3", "s3express", "s3-object-lambda", "s3-outposts"})

# Text that decoding and encoding again would not change. The escapes are those of every byte that is not unreserved, in
# upper case; in an S3 path a slash is never escaped. Most targets of SDKs match, and matching is much cheaper.
_ESCAPE = "%(?:[0189A-F][0-9A-F]|2[0-9A-C{slash}]|3[A-F]|[46]0|5[B-E]|7[BCDF])"
_DONE_PART = re.compile(f"(?:[A-Za-z0-9._~-]|{_ESCAPE.format(slash='F')})*")
_DONE_S3_PATH = re.compile(f"/(?:[A-Za-z0-9._~/-]|{_ESCAPE.format(slash='')})*")

# Of the same language those without empty and dot segments, which other servers would resolve, and without an escaped
# NUL or backslash, which they may read in ways of their own.
_PLAIN_ESCAPE = "%(?:0[1-9A-F]|[189A-F][0-9A-F]|2[0-9A-C]|3[A-F]|[46]0|5[BDE]|7[BCDF])"
_PLAIN_CHARACTER = f"(?:[A-Za-z0-9_~-]|{_PLAIN_ESCAPE})"
_PLAIN_SEGMENT = rf"(?:\.{{0,2}}{_PLAIN_CHARACTER}(?:{_PLAIN_CHARACTER}|\.)*|\.{{3}}(?:{_PLAIN_CHARACTER}|\.)*)"
PLAIN_S3_PATH = f"/(?:{_PLAIN_SEGMENT}/)*(?:{_PLAIN_SEGMENT})?"
"""RE2, for full matches of an S3 path that every signer and every server reads alike."""

_BLANKS = re.compile("[ \t]+")
# Other headers may be changed by any hop between the signature and the service.
_SIGNABLE = frozenset({"content-md5", "content-type"})


def is_s3(service: str) -> bool:
    """Whether a service, by the name it is signed for, follows the rules of S3 for paths and payloads."""
    return service in _S3_SERVICES


def canonical_path(path: str | bytes, *, s3: bool) -> str:
    """The one spelling of a path for the wire. `path` is as the client sent it, without its query.

    Escapes are decoded, then every byte but the unreserved ones is encoded, in upper case. A ``%`` that begins no
    escape stands for itself, and so does ``+``. It has to go out as ``%2B``: S3 reads a literal one as a space, even
    in a path. Empty is ``/``.

    For S3 the path is a name: ``%2F`` is a slash, and doubled slashes, ``.``, ``..`` and a slash at the end are kept.
    For the other services ``%2F`` belongs to its segment, and dot segments and doubled slashes are resolved, because
    those services check the signature of the resolved path whatever was sent.

    Raises ValueError when it does not begin with a slash.
    """
    if not path:
        return "/"
    text = path if isinstance(path, str) else _text(path)
    if not text.startswith("/"):
        raise ValueError("a path to sign begins with '/'; the asterisk form and the absolute form have no signature")
    if s3:
        return text if _DONE_S3_PATH.fullmatch(text) else _encoded(text, safe="/")
    segments: list[str] = []
    for raw in text.split("/"):
        segment = _spelled(raw)
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    end = "/" if segments and text.endswith("/") else ""
    return f"/{'/'.join(segments)}{end}"


def canonical_uri(wire_path: str, *, s3: bool) -> str:
    """The path as it is signed, from its canonical spelling: that itself for S3, encoded once more for the others."""
    return wire_path if s3 else quote_from_bytes(wire_path.encode(), safe="/")


def canonical_query(query: str | bytes) -> str:
    """The query as it is signed: ``name=value`` in canonical spelling, sorted by name, then by value.

    `query` is as the client sent it, without the question mark. Only ``&`` separates. Empty parts are dropped, a part
    without ``=`` has an empty value. A literal ``+`` is a space, as the services themselves read it and as HTML forms
    write it; a plus sign arrives as ``%2B``, which is how SDKs send it.
    """
    return _joined(sorted(_parameters(query))) if query else ""


def canonical_target(path: str | bytes, query: str | bytes = b"", *, s3: bool = True) -> str:
    """The one spelling of path and query to send: it denotes what the client's denotes and is signed alike.

    For S3 its parts are byte for byte those of the canonical request. For other services the values of a repeated name
    keep their order, which may matter to the service though the signature does not cover it.
    """
    return joined_target(canonical_path(path, s3=s3), wire_query(query, s3=s3))


def wire_query(query: str | bytes, *, s3: bool) -> str:
    """The query part of `canonical_target`."""
    if not query:
        return ""
    return canonical_query(query) if s3 else _joined(sorted(_parameters(query), key=_name))


def joined_target(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path


def query_names(query: str | bytes) -> frozenset[str]:
    """The names in a query, decoded and in lower case, so that no spelling of one can hide."""
    names = (unquote_to_bytes(name).decode("utf-8", "replace").lower() for name, _ in _parameters(query))
    return frozenset(names)


def canonical_headers(headers: Iterable[tuple[str, str]], own: Iterable[tuple[str, str]] = ()) -> tuple[str, str]:
    """The block of canonical headers, each line with its line feed, and the list of signed header names.

    Names in lower case and sorted; values trimmed, runs of blanks made one space, repeated ones joined with commas.
    `own` are headers of the signer, canonical already and none of them twice: they are neither changed nor looked at.
    Raises ValueError for a name or value that no header can have: a line feed would forge a line of what is signed.
    """
    merged = dict(own)
    for name, value in headers:
        low = name.lower()
        if not is_header_name(low):
            raise ValueError(f"{name!r} is no header name, so it cannot be signed")
        if not is_header_value(value):
            raise ValueError(f"the value of header {name} has a control character, so it cannot be signed")
        text = (_BLANKS.sub(" ", value) if "  " in value or "\t" in value else value).strip(" ")
        merged[low] = f"{merged[low]},{text}" if low in merged else text
    lines = sorted(merged.items())
    return "".join([f"{name}:{value}\n" for name, value in lines]), ";".join([name for name, _ in lines])


def signable_headers(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Those of a client's headers that a gateway should sign: ``x-amz-*``, which S3 demands, and what the body is."""
    found = [header for header in headers if (low := header[0].lower()).startswith("x-amz-") or low in _SIGNABLE]
    return tuple(found)


def canonical_request(method: str, uri: str, query: str, header_block: str, signed_headers: str, payload: str) -> str:
    """The text whose hash is signed, from its canonical parts."""
    return f"{method}\n{uri}\n{query}\n{header_block}\n{signed_headers}\n{payload}"


def encode_value(text: str) -> str:
    """A value for a query: every byte but the unreserved ones encoded, the slash too."""
    return quote_from_bytes(text.encode(), safe="")


def _parameters(query: str | bytes) -> list[tuple[str, str]]:
    text = query if isinstance(query, str) else _text(query)
    if "+" in text:
        text = text.replace("+", "%20")
    pairs = []
    for part in text.split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((_spelled(name), _spelled(value)))
    return pairs


def _joined(pairs: list[tuple[str, str]]) -> str:
    return "&".join([f"{name}={value}" for name, value in pairs])


def _name(pair: tuple[str, str]) -> str:
    return pair[0]


def _spelled(part: str) -> str:
    return part if _DONE_PART.fullmatch(part) else _encoded(part, safe="")


def _encoded(text: str, safe: str) -> str:
    return quote_from_bytes(unquote_to_bytes(text.encode("utf-8", "surrogateescape")), safe=safe)


def _text(raw: bytes) -> str:
    # Bytes that are no UTF-8 come back as they were when `_encoded` turns the text into bytes again.
    return raw.decode("utf-8", "surrogateescape")
