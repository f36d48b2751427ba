"""The programs this worker runs: parsed, started, and replaced while requests are under way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from apostille.auth.codec import CodecError, parse_keyring, parse_program
from apostille.auth.contract import (
    AuthStep,
    CredentialSources,
    Signer,
    SignerRunner,
    SignerTools,
    StepRunner,
    StepTools,
)
from apostille.auth.keyrings import KeyRingStore
from apostille.auth.upstreams import UpstreamStore, parse_news
from apostille.base.clock import Clock
from apostille.model.auth import NOWHERE, Place, Program
from apostille.model.outbound import Outbound


class ProgramError(ValueError):
    """A program or key ring that cannot be used; the text is for the control plane (a NACK) and holds no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedProgram:
    """`steps` run in this order. `removable`: request headers that go no further unless a step sets them itself.
    `tells_query`: Envoy is told the query that is to be sent.

    What follows from these for every request alike is worked out once: `policy` as logs and metrics name it, `deadline`
    in seconds, `place`, and `remove`, the removable headers in order.
    """

    program: Program
    steps: tuple[tuple[str, AuthStep], ...]
    removable: frozenset[str]
    wants_body: bool
    tells_query: bool = False
    signer: Signer | None = None
    policy: str = field(init=False)
    deadline: float = field(init=False)
    place: Place = field(init=False)
    remove: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "policy", self.program.policy.short)
        object.__setattr__(self, "deadline", self.program.deadline_ms / 1000)
        object.__setattr__(self, "place", self.program.place or NOWHERE)
        object.__setattr__(self, "remove", tuple(sorted(self.removable)))


def start_program(
    program: Program, kinds: Mapping[str, StepRunner], tools: StepTools, signing: Signing | None = None
) -> StartedProgram:
    """Raises whatever the start of a step or of the signer raises."""
    uses = tuple(step.headers for step in program.steps)
    reads = {name for use in uses for name in use.reads}
    writes = {name for use in uses for name in use.writes}
    credentials = {name for use in uses for name in use.credentials}
    return StartedProgram(
        program=program,
        steps=tuple((step.name, kinds[step.kind].start(step.config, tools)) for step in program.steps),
        # A header that one step reads cannot be stripped before the chain, and one that a step writes must not be the
        # client's: so the client's copy of such a header is taken away here.
        removable=frozenset(name.lower() for name in credentials | (reads & writes)),
        wants_body=program.outbound is not None or any(use.body for use in uses),
        tells_query=any(use.query for use in uses),
        signer=_start_signer(program.outbound, signing) if program.outbound is not None else None,
    )


def _start_signer(outbound: Outbound, signing: Signing | None) -> Signer:
    if signing is None:
        raise LookupError("this worker has no integrations")
    tools = SignerTools(
        clock=signing.clock,
        credentials=signing.credentials,
        upstream=signing.upstreams.view(outbound.policy.short),
    )
    return signing.kinds[outbound.kind].start(outbound.config, tools)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """What this worker can put on requests, and what it needs for it."""

    kinds: Mapping[str, SignerRunner]
    clock: Clock
    credentials: CredentialSources
    upstreams: UpstreamStore


class Programs:
    """What the feed puts in and requests take out.

    Each put or drop takes effect at once and as a whole; a request keeps the program it began with. A put that raises
    leaves the older version in place. One event loop owns this object: there are no locks.
    """

    def __init__(
        self,
        kinds: Mapping[str, StepRunner],
        tools: StepTools,
        keyrings: KeyRingStore,
        signing: Signing | None = None,
    ) -> None:
        """`keyrings` is the very store that `tools.keyrings` looks into."""
        self._kinds = kinds
        self._tools = tools
        self._signing = signing
        self._keyrings = keyrings
        self._programs: dict[str, StartedProgram] = {}

    def find(self, program: str) -> StartedProgram | None:
        return self._programs.get(program)

    def program_ids(self) -> frozenset[str]:
        return frozenset(self._programs)

    def keyring_ids(self) -> frozenset[str]:
        return self._keyrings.ids()

    def put_program(self, name: str, data: bytes) -> None:
        """`name` is the resource's name on the wire, equal to the program's id. Raises ProgramError."""
        try:
            program = parse_program(data, self._kinds, self._signing.kinds if self._signing else {})
        except CodecError as error:
            raise ProgramError(f"program {name!r}: {error}") from None
        if program.id != name:
            raise ProgramError(f"program {name!r} calls itself {program.id!r}")
        if (not program.steps and program.outbound is None) or program.deadline_ms <= 0:
            raise ProgramError(f"program {name!r} has no steps or no time to run: it would guard nothing")
        try:
            started = start_program(program, self._kinds, self._tools, self._signing)
        except Exception as error:  # noqa: BLE001 - a step may be anyone's code, and must not end the feed
            # Its type only: the text may hold what is in the config.
            raise ProgramError(f"program {name!r}: a step did not start ({type(error).__name__})") from None
        self._programs[name] = started

    def drop_program(self, name: str) -> None:
        self._programs.pop(name, None)

    def put_keyring(self, name: str, data: bytes) -> None:
        """Raises ProgramError."""
        try:
            ring = parse_keyring(data)
        except CodecError as error:
            raise ProgramError(f"key ring {name!r}: {error}") from None
        if ring.id != name:
            raise ProgramError(f"key ring {name!r} calls itself {ring.id!r}")
        self._keyrings.put(ring)

    def drop_keyring(self, name: str) -> None:
        self._keyrings.drop(name)

    def put_upstream(self, name: str, data: bytes) -> None:
        """News of the destination of the outbound policy `name`. Raises ProgramError."""
        try:
            news = parse_news(data)
        except ValueError as error:
            raise ProgramError(f"destination of {name!r}: {error}") from None
        if self._signing is None or not self._signing.upstreams.put(name, news):
            return
        for started in self._programs.values():
            outbound = started.program.outbound
            if started.signer is not None and outbound is not None and outbound.policy.short == name:
                started.signer.refused()

    def drop_upstream(self, name: str) -> None:
        if self._signing is not None:
            self._signing.upstreams.drop(name)
