"""``apostille keys``: API keys, over the admin API of a running gateway. No key and no token is ever an argument."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apostille.base.errors import ApostilleError
from apostille.cli import key_options as options
from apostille.cli.key_output import clean, note_key, print_json_list, print_key, print_keys
from apostille.cli.output import Format, print_json, print_note, print_result

if TYPE_CHECKING:
    from apostille.cli.admin_client import AdminClient

PATH = "/v1/keys"
_PIECE = 64 * 1024
# Bytes that surely hold the last line of an export.
_ENDING = 64
_STANDARD = "-"

keys = typer.Typer(
    help="Create, show, rotate and revoke API keys of a running gateway.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Admin = Annotated[
    str | None,
    typer.Option(
        "--admin", metavar="URL", help="Admin API of the gateway; APOSTILLE_ADMIN_URL, else http://127.0.0.1:9900."
    ),
]
Output = Annotated[Format, typer.Option("-o", "--output", help="Lines for people, or one JSON document.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="apo_<env>_<id>, the first part of a key, or the id.")]
# Any: JSON.
Json = dict[str, Any]


@keys.command("create")
def create(
    consumer: Annotated[str, typer.Option("--consumer", help="Whom the key stands for.")],
    name: options.Name = None,
    env: Annotated[str, typer.Option("--env", help="Stands in the key: letters a-z and digits.")] = "live",
    label: options.Labels = None,
    metadata: options.Metadata = None,
    expires: options.Expires = None,
    not_before: options.NotBefore = None,
    method: options.Methods = None,
    host: options.Hosts = None,
    path_prefix: options.PathPrefixes = None,
    route_label: options.RouteLabels = None,
    destination: options.Destinations = None,
    rate: options.RateLimit = None,
    burst: options.Burst = None,
    quota: options.Quotas = None,
    limit_share: options.LimitShare = None,
    output: Output = Format.TEXT,
    admin: Admin = None,
) -> None:
    """Create a key and print it, alone on standard output, this once.

    KEY=$(apostille keys create --consumer alice) puts it into a variable.
    """
    order: Json = {
        "consumer": consumer,
        "env": env,
        "name": name or "",
        "labels": options.parse_pairs("--label", label or ()),
        "metadata": options.parse_pairs("--metadata", metadata or ()),
        "scopes": options.parse_scopes(
            method or (), host or (), path_prefix or (), route_label or (), destination or ()
        ),
        "limits": options.parse_limits(rate, burst, quota or (), limit_share),
        **_times(expires, not_before),
    }
    _print_issued(_client(admin).ask("POST", PATH, order), output)


@keys.command("list")
def list_keys(
    consumer: Annotated[str | None, typer.Option("--consumer", help="Only keys of this consumer.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="NAME=VALUE", help="Only keys with this label; repeatable: all."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Keys on a page, about.")] = 100,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Where the page before said to go on.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every page.")] = False,
    output: Output = Format.TEXT,
    admin: Admin = None,
) -> None:
    """List keys, in no order, page by page: a table on a terminal, else lines with tabs."""
    query = [("limit", str(limit))]
    query += [("consumer", consumer)] if consumer is not None else []
    query += [("label", f"{name}={value}") for name, value in options.parse_pairs("--label", label or ()).items()]
    pages = _pages(_client(admin), query, cursor, every=every)
    if output is Format.JSON:
        print_json_list(pages)
        return
    following = None
    for page in pages:
        print_keys(page["items"])
        for damaged in page["damaged"]:
            print_note(f"apostille: the record of key {clean(damaged['id'])} is damaged: {clean(damaged['problem'])}")
        following = page["nextCursor"]
    if following is not None:
        print_note(f"there may be more: --cursor {following} goes on, --all shows everything")


@keys.command("show")
def show(key: Key, output: Output = Format.TEXT, admin: Admin = None) -> None:
    """Show what is known of a key. The key itself is known to nobody but its holder."""
    _print_key(_client(admin).ask("GET", _path(key)), output)


@keys.command("update")
def update(
    key: Key,
    consumer: Annotated[str | None, typer.Option("--consumer", help="Whom the key stands for.")] = None,
    name: options.Name = None,
    label: options.Labels = None,
    metadata: options.Metadata = None,
    expires: options.Expires = None,
    not_before: options.NotBefore = None,
    method: options.Methods = None,
    host: options.Hosts = None,
    path_prefix: options.PathPrefixes = None,
    route_label: options.RouteLabels = None,
    destination: options.Destinations = None,
    rate: options.RateLimit = None,
    burst: options.Burst = None,
    quota: options.Quotas = None,
    limit_share: options.LimitShare = None,
    output: Output = Format.TEXT,
    admin: Admin = None,
) -> None:
    """Change what is said of a key; it stays the same key.

    What is given replaces all of its kind: --label all labels, --method, --host and the like all scopes, --rate and the
    like all limits.
    """
    plain = {"consumer": consumer, "name": name}
    change: Json = {
        **{field: value for field, value in plain.items() if value is not None},
        **_times(expires, not_before),
    }
    if label:
        change["labels"] = options.parse_pairs("--label", label)
    if metadata:
        change["metadata"] = options.parse_pairs("--metadata", metadata)
    if method or host or path_prefix or route_label or destination:
        change["scopes"] = options.parse_scopes(
            method or (), host or (), path_prefix or (), route_label or (), destination or ()
        )
    if rate or burst or quota or limit_share:
        change["limits"] = options.parse_limits(rate, burst, quota or (), limit_share)
    if not change:
        raise typer.BadParameter("nothing is to be changed; name at least one option, such as --expires 90d")
    _print_key(_client(admin).ask("PATCH", _path(key), change), output)


@keys.command("rotate")
def rotate(
    key: Key,
    grace: Annotated[
        str, typer.Option("--grace", metavar="SPAN", help="How long the old key goes on; 7d and 0s too.")
    ] = "24h",
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="WHEN", help="Of the new key; the old one's lifetime anew by default."),
    ] = None,
    output: Output = Format.TEXT,
    admin: Admin = None,
) -> None:
    """Replace a key by a new one that may do the same; print the new one, alone on standard output, this once."""
    body = {"grace": options.parse_grace(grace), **_times(expires, None)}
    issued = _client(admin).ask("POST", f"{_path(key)}/rotate", body)
    _print_issued(issued, output)
    if output is Format.TEXT:
        print_note(f"{issued['retiring']['id']} is valid until {issued['retiring']['expires']}")


@keys.command("revoke")
def revoke(key: Key, output: Output = Format.TEXT, admin: Admin = None) -> None:
    """End a key for good, within a second; its record stays."""
    record = _client(admin).ask("POST", f"{_path(key)}/revoke", {})
    if output is Format.JSON:
        print_json(record)
    else:
        print_note(f"{record['id']} of {clean(record['consumer'])} is revoked")


@keys.command("delete")
def delete(
    key: Key,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    admin: Admin = None,
) -> None:
    """Forget a key and all that is known of it; revoke keeps the record."""
    path = _path(key)
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("there is nobody to ask whether the key is to be forgotten; write --yes")
        typer.confirm(f"Forget {key} and all that is known of it?", abort=True, err=True)
    _client(admin).ask("DELETE", path)
    print_note(f"{key} is deleted")


@keys.command("import")
def import_keys(
    file: Annotated[str, typer.Argument(metavar="FILE", help="An export; - for standard input.")],
    output: Output = Format.TEXT,
    admin: Admin = None,
) -> None:
    """Create the keys of an export; those that are there already are left alone."""
    report = _client(admin).send(f"{PATH}/import", _read(file))
    if output is Format.JSON:
        print_json(report)
        return
    print_result(
        f"{report['created']} created, {report['same']} there already, {report['different']} there and different"
    )
    if report["different"]:
        print_note(f"left as they were: {', '.join(map(clean, report['named']))}")


@keys.command("export")
def export_keys(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A new file, for you alone; - for standard output.")
    ] = _STANDARD,
    admin: Admin = None,
) -> None:
    """Write all keys down, a line for each, for a backup or another store.

    They are digests: nobody can read a key from them. Guard them all the same, as the store is guarded.
    """
    client = _client(admin)
    ending = b""
    with _writing(file) as write:
        for piece in client.receive(f"{PATH}/export"):
            ending = (ending + piece)[-_ENDING:]
            write(piece)
        if not ending.rstrip(b"\n").rpartition(b"\n")[2].startswith(b"end "):
            raise ApostilleError("the export was cut off: its last line is missing; try again")


def _client(admin: str | None) -> AdminClient:
    from apostille.admin.token import parse_admin_token
    from apostille.cli.admin_client import ADMIN_URL, DEFAULT_URL, AdminClient

    return AdminClient(admin or os.environ.get(ADMIN_URL) or DEFAULT_URL, parse_admin_token(os.environ))


def _path(key: str) -> str:
    return f"{PATH}/{options.parse_key_name(key)}"


def _times(expires: str | None, not_before: str | None) -> Json:
    from apostille.base.clock import SystemClock

    now = SystemClock().now()
    written = {"expires": ("--expires", expires), "notBefore": ("--not-before", not_before)}
    return {
        field: options.parse_when(option, text, now) for field, (option, text) in written.items() if text is not None
    }


def _pages(client: AdminClient, query: Sequence[tuple[str, str]], cursor: str | None, *, every: bool) -> Iterator[Json]:
    while True:
        page = client.ask("GET", PATH, query=[*query, *([("cursor", cursor)] if cursor is not None else [])])
        yield page
        cursor = page["nextCursor"]
        if cursor is None or not every:
            return


def _print_issued(issued: Json, output: Format) -> None:
    if output is Format.JSON:
        print_json(issued)
        return
    print_result(issued["key"])
    note_key(issued["record"])


def _print_key(key: Json, output: Format) -> None:
    if output is Format.JSON:
        print_json(key)
    else:
        print_key(key)


def _read(file: str) -> Iterator[bytes]:
    try:
        opened = sys.stdin.buffer if file == _STANDARD else Path(file).open("rb")  # noqa: SIM115 - closed below
        with opened:
            while piece := opened.read(_PIECE):
                yield piece
    except OSError as error:
        raise ApostilleError(f"{file} cannot be read: {error.strerror}") from None


@contextmanager
def _writing(file: str) -> Iterator[Callable[[bytes], object]]:
    """A file that stays only if it became whole."""
    if file == _STANDARD:
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    try:
        opened = os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
    except OSError as error:
        raise ApostilleError(f"{file} cannot be made: {error.strerror}; name a file that is not there") from None
    try:
        with opened:
            yield opened.write
    except BaseException:
        Path(file).unlink(missing_ok=True)
        raise
