"""Text or data to resources. First the envelope, then the spec; every problem with its place, and none that raises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from apostille.base.refs import Origin, Ref
from apostille.base.secrets import SecretText
from apostille.resources.documents import Document, DuplicateKey, Place, Unreadable, read_documents
from apostille.resources.envelope import Envelope, parse_envelope
from apostille.resources.ext_auth import UnbuiltPolicy
from apostille.resources.kinds import Kind, Support, identify
from apostille.resources.messages import kind_of, unknown_field
from apostille.resources.resource import Positions, Resource, Spec
from apostille.resources.selectors import GuardSpec
from apostille.resources.validation import Validated, validate_spec
from apostille.status.problem import FieldPath, Finding, Problem
from apostille.status.reasons import Effect, Reason

_ENVELOPE = ("apiVersion", "kind", "metadata")
_SEALED = frozenset(("data", "stringData", "string_data"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDocument:
    """`resource` is None when nothing came of the document; its `spec` is None when the spec is broken as a whole."""

    resource: Resource[Spec] | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFile:
    """`readable` False: not YAML, too large, or no resource at all in it; what was last read from the file should stay.

    `next_order` is the `start_order` of the file after this one.
    """

    file: str
    resources: tuple[Resource[Spec], ...]
    findings: tuple[Finding, ...]
    readable: bool
    next_order: int


def parse_file(path_name: str, text: str, start_order: int) -> ParsedFile:
    """All resources of a YAML or JSON text with any number of documents; a ``List`` counts as its items."""
    documents = read_documents(text)
    if isinstance(documents, Unreadable):
        problem = Problem(at=(), reason=Reason.INVALID_SYNTAX, message=documents.message)
        origin = Origin(path_name, documents.line, documents.column)
        finding = Finding(ref=None, origin=origin, problem=problem, effect=Effect.REJECTED)
        return ParsedFile(file=path_name, resources=(), findings=(finding,), readable=False, next_order=start_order)
    single = [part for document in documents for part in _unrolled(document)]
    parsed = [
        parse_document(
            document.data,
            Positions(path_name, document.places),
            order=start_order + index,
            duplicates=document.duplicates,
        )
        for index, document in enumerate(single)
    ]
    findings = [finding for each in parsed for finding in each.findings]
    return ParsedFile(
        file=path_name,
        resources=tuple(each.resource for each in parsed if each.resource is not None),
        findings=tuple(sorted(findings, key=lambda finding: finding.origin)),
        readable=not single or any(isinstance(document.data, Mapping) for document in single),
        next_order=start_order + len(single),
    )


def parse_document(
    data: object, positions: Positions, *, order: int, duplicates: tuple[FieldPath, ...] = ()
) -> ParsedDocument:
    """One resource. `duplicates`: where the data has a `DuplicateKey`. The data is plain."""
    if not isinstance(data, Mapping):
        text = f"A resource is a mapping with apiVersion, kind and metadata, not {kind_of(data)}."
        problem = Problem(at=(), reason=Reason.INVALID_SYNTAX, message=text)
        return ParsedDocument(resource=None, findings=(_finding(None, positions, problem, Effect.REJECTED),))
    if data.get("kind") == "Secret":
        data = _sealed(data)
    identity = identify(data.get("apiVersion"), data.get("kind"))
    kind = identity.kind
    if kind is None:
        problem = identity.problem or Problem(at=("kind",), reason=Reason.UNKNOWN_KIND, message="Unknown kind.")
        effect = Effect.IGNORED if problem.reason is Reason.UNKNOWN_KIND else Effect.REJECTED
        return ParsedDocument(resource=None, findings=(_finding(_ref_of(data), positions, problem, effect),))
    return _Parse(kind, data, positions, order).run(identity.problem, duplicates)


class _Parse:
    """The state while one document of a known kind is being parsed."""

    def __init__(self, kind: Kind, data: Mapping[str, object], positions: Positions, order: int) -> None:
        self._kind = kind
        self._data = data
        self._positions = positions
        self._order = order
        self._envelope = parse_envelope(data.get("metadata"))
        # A guard without a readable name must still shut its doors, so it gets one that no manifest can have.
        name = self._envelope.name or f"(unnamed, {positions.origin(())})"
        self._ref = Ref(kind.name, self._envelope.namespace, name)
        self._findings: list[Finding] = []

    def run(self, identity_problem: Problem | None, duplicates: tuple[FieldPath, ...]) -> ParsedDocument:
        envelope = self._envelope
        shut = Effect.REPLACED if self._kind.guards else Effect.REJECTED
        fatal = [*([identity_problem] if identity_problem else []), *envelope.problems]
        for problem in envelope.warnings:
            self._say(problem, Effect.IGNORED)
        if identity_problem is None:
            self._say_support()
        spec: Spec | None = None
        if self._kind.spec is not None:
            validated = self._validated(self._kind.spec)
            spec = validated.spec
            fatal.extend(validated.fatal)
            for problem, effect in validated.contained:
                self._say(problem, effect)
            blurred = tuple(
                problem for problem in validated.unknown if self._kind.guards and _is_of_targets(problem.at)
            )
            for problem in validated.unknown:
                self._say(problem, Effect.REPLACED if problem in blurred else Effect.IGNORED)
            if blurred and isinstance(spec, GuardSpec):
                # What was meant there is pruned, and a guard may well have lost all that it was to cover.
                spec = spec.widened(blurred)
        fatal.extend(self._overlooked(duplicates, fatal))
        for problem in fatal:
            self._say(problem, shut)
        if self._kind.spec is None or (envelope.name is None and not self._kind.guards):
            return ParsedDocument(resource=None, findings=tuple(self._findings))
        if fatal:
            spec = self._shut(spec, tuple(fatal))
        return ParsedDocument(resource=self._resource(envelope, spec), findings=tuple(self._findings))

    def _validated(self, model: type[Spec]) -> Validated[Spec]:
        if self._kind.top_level:
            raw = {field: value for field, value in self._data.items() if field not in _ENVELOPE}
            return validate_spec(model, raw)
        for field, value in self._data.items():
            if field not in (*_ENVELOPE, "spec", "status"):
                message = unknown_field(field, (*_ENVELOPE, "spec"))
                self._say(Problem(at=(field,), reason=Reason.UNKNOWN_FIELD, message=message), Effect.IGNORED)
                if isinstance(value, DuplicateKey):
                    self._say(Problem(at=(field,), reason=Reason.CONFLICT, message=value.message), Effect.IGNORED)
        return validate_spec(model, self._data.get("spec", {}), ("spec",))

    def _overlooked(self, duplicates: tuple[FieldPath, ...], fatal: list[Problem]) -> list[Problem]:
        """Keys written twice where nobody has looked: in opaque data, or in a field that was pruned."""
        if self._kind.spec is None:
            return []
        told = {problem.at for problem in fatal} | {
            finding.problem.at for finding in self._findings if finding.problem.reason is Reason.CONFLICT
        }
        found = []
        for path in duplicates:
            value = _value_at(self._data, path)
            if path not in told and isinstance(value, DuplicateKey) and path[0] != "status":
                found.append(Problem(at=path, reason=Reason.CONFLICT, message=value.message))
        return found

    def _shut(self, spec: Spec | None, fatal: tuple[Problem, ...]) -> Spec | None:
        match self._kind.spec:
            case kind if kind is UnbuiltPolicy:
                return spec or UnbuiltPolicy.broken(fatal)
            case kind if kind is not None and issubclass(kind, GuardSpec):
                return kind.broken(fatal, targets=spec if isinstance(spec, GuardSpec) else None)
            case _:
                return None

    def _say_support(self) -> None:
        name = self._kind.name
        at: FieldPath = ("kind",)
        match self._kind.support:
            case Support.BUILT:
                pass
            case Support.UNBUILT:
                text = f"{name} is known and not built yet: it has no effect."
                self._say(Problem(at=at, reason=Reason.NOT_BUILT, message=text), Effect.IGNORED)
            case Support.UNBUILT_GUARD:
                text = f"{name} guards access and is not built yet: what it covers is shut. Remove it to open that."
                self._say(Problem(at=at, reason=Reason.NOT_BUILT, message=text), Effect.REPLACED)
            case Support.NO_EFFECT:
                text = f"{name} is accepted and has no effect here."
                self._say(Problem(at=at, reason=Reason.NO_EFFECT, message=text), Effect.IGNORED)

    def _resource(self, envelope: Envelope, spec: Spec | None) -> Resource[Spec]:
        return Resource(
            ref=self._ref,
            labels=envelope.labels,
            annotations=envelope.annotations,
            created=envelope.created,
            order=self._order,
            positions=self._positions,
            spec=spec,
            raw=self._data,
        )

    def _say(self, problem: Problem, effect: Effect) -> None:
        self._findings.append(_finding(self._ref, self._positions, problem, effect))


def _is_of_targets(at: FieldPath) -> bool:
    """Whether a path lies in what a policy covers, or in a misspelt name of that."""
    return len(at) > 1 and at[0] == "spec" and str(at[1]).lower().startswith("apply")


def _finding(ref: Ref | None, positions: Positions, problem: Problem, effect: Effect) -> Finding:
    return Finding(ref=ref, origin=positions.origin(problem.at), problem=problem, effect=effect)


def _ref_of(data: Mapping[str, object]) -> Ref | None:
    kind = data.get("kind")
    envelope = parse_envelope(data.get("metadata"))
    if not isinstance(kind, str) or envelope.name is None:
        return None
    return Ref(kind, envelope.namespace, envelope.name)


def _sealed(data: Mapping[str, object]) -> Mapping[str, object]:
    """A Secret whose values are `SecretText` before anyone can complain about them."""
    return {name: _seal(part) if name in _SEALED else part for name, part in data.items()}


def _seal(value: object) -> object:
    if isinstance(value, str):
        return SecretText(value)
    if isinstance(value, Mapping):
        return {key: _seal(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_seal(part) for part in value)
    return value


def _unrolled(document: Document) -> Iterator[Document]:
    data = document.data
    items = data.get("items") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(items, tuple) or not str(data.get("kind")).endswith("List"):
        yield document
        return
    places: list[dict[FieldPath, Place]] = [{} for _ in items]
    for path, place in document.places.items():
        if len(path) > 1 and path[0] == "items" and isinstance(path[1], int):
            places[path[1]][path[2:]] = place
    duplicates: list[list[FieldPath]] = [[] for _ in items]
    for path in document.duplicates:
        if len(path) > 1 and path[0] == "items" and isinstance(path[1], int):
            duplicates[path[1]].append(path[2:])
    for item, item_places, item_duplicates in zip(items, places, duplicates, strict=True):
        yield from _unrolled(Document(data=item, places=item_places, duplicates=tuple(item_duplicates)))


def _value_at(data: object, path: FieldPath) -> object:
    for part in path:
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, tuple | list) and isinstance(part, int):
            data = data[part]
        else:
            return None
    return data
