"""Records as the admin API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from apostille.admin.shapes import (
    DamagedKey,
    ImportReport,
    IssuedKey,
    KeyLimits,
    KeyPage,
    KeyQuota,
    KeyRate,
    KeyState,
    KeyView,
    ShownScopes,
)
from apostille.keys.format import PREFIX
from apostille.keys.orders import Issued
from apostille.keys.record import KeyRecord, State
from apostille.model.limits import Limits
from apostille.model.scopes import Scopes

if TYPE_CHECKING:
    from apostille.keys.store import Page
    from apostille.keys.transfer import Imported


def show_key(record: KeyRecord, now: datetime) -> KeyView:
    return KeyView(
        id=record.shown,
        env=record.env,
        name=record.name,
        consumer=record.consumer,
        state=_state(record, now),
        labels=dict(record.labels),
        metadata=dict(record.metadata),
        scopes=_scopes(record.scopes),
        limits=_limits(record.limits),
        created=record.created,
        not_before=record.not_before,
        expires=record.expires,
        last_used=record.last_used,
        # A successor is of the same environment.
        successor=None if record.successor is None else f"{PREFIX}_{record.env}_{record.successor}",
        revision=record.revision,
    )


def show_issued(issued: Issued, now: datetime) -> IssuedKey:
    """The one place where a key is shown in clear."""
    return IssuedKey(
        key=issued.key.reveal(),
        record=show_key(issued.record, now),
        retiring=None if issued.retiring is None else show_key(issued.retiring, now),
    )


def show_page(page: Page, now: datetime) -> KeyPage:
    return KeyPage(
        items=tuple(show_key(record, now) for record in page.records),
        damaged=tuple(DamagedKey(id=each.id, problem=each.what) for each in page.damaged),
        next_cursor=page.cursor,
    )


def show_import(report: Imported) -> ImportReport:
    return ImportReport(created=report.created, same=report.same, different=report.different, named=report.named)


def _state(record: KeyRecord, now: datetime) -> KeyState:
    if record.state is State.REVOKED:
        return KeyState.REVOKED
    if record.expires is not None and now >= record.expires:
        return KeyState.EXPIRED
    if record.not_before is not None and now < record.not_before:
        return KeyState.NOT_YET_VALID
    return KeyState.ACTIVE


def _scopes(scopes: Scopes) -> ShownScopes:
    return ShownScopes(
        methods=scopes.methods,
        hosts=scopes.hosts,
        path_prefixes=scopes.paths,
        route_labels=dict(scopes.labels),
        destinations=scopes.destinations,
    )


def _limits(limits: Limits) -> KeyLimits:
    rate = limits.rate
    return KeyLimits(
        rate=None if rate is None else KeyRate(per_second=rate.per_second, burst=rate.burst),
        quotas=tuple(KeyQuota(requests=quota.requests, period=quota.period) for quota in limits.quotas),
        share=limits.share,
    )
