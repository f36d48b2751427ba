from __future__ import annotations

from collections.abc import Mapping

from apostille.base.refs import Origin
from apostille.control.reading import Reader, Reading
from apostille.sources.contract import Texts
from apostille.status.problem import Finding, Problem
from apostille.status.reasons import Effect, Reason

NOT_YAML = "kind: [RouteTable\n"


def service(name: str, *, port: int | str = 80) -> str:
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n"


def texts(files: Mapping[str, str], *unreadable: str, vanished: bool = False) -> Texts:
    findings = tuple(
        Finding(
            ref=None,
            origin=Origin(name, 1, 1),
            problem=Problem(at=(), reason=Reason.UNREADABLE, message="It cannot be read."),
            effect=Effect.REJECTED,
        )
        for name in unreadable
    )
    return Texts(files=dict(sorted(files.items())), findings=findings, vanished=vanished)


def names(reading: Reading) -> list[str]:
    return [resource.ref.name for resource in reading.snapshot.resources]


def reasons(reading: Reading) -> list[Reason]:
    return [finding.problem.reason for finding in reading.findings]


def test_resources_stand_in_the_order_of_files_and_then_of_documents() -> None:
    reading = Reader().read(texts({"b.yaml": service("three"), "a.yaml": f"{service('two')}---\n{service('one')}"}))
    assert names(reading) == ["two", "one", "three"]
    assert (reading.stale, reading.blind, reading.findings) == ((), (), ())


def test_a_file_that_is_no_yaml_any_more_is_served_as_it_last_was() -> None:
    reader = Reader()
    reader.read(texts({"a.yaml": service("one"), "b.yaml": service("two")}))
    reading = reader.read(texts({"a.yaml": NOT_YAML, "b.yaml": service("three")}))
    assert names(reading) == ["one", "three"]
    assert (reading.stale, reading.blind) == (("a.yaml",), ())
    assert reasons(reading) == [Reason.INVALID_SYNTAX, Reason.STALE]
    assert reading.texts == {"a.yaml": service("one"), "b.yaml": service("three")}


def test_what_is_wrong_in_a_stale_file_is_still_told() -> None:
    reader = Reader()
    reader.read(texts({"a.yaml": service("one", port="many")}))
    reading = reader.read(texts({"a.yaml": NOT_YAML}))
    assert reasons(reading) == [Reason.INVALID_SYNTAX, Reason.STALE, Reason.INVALID_VALUE]


def test_a_stale_file_recovers() -> None:
    reader = Reader()
    reader.read(texts({"a.yaml": service("one")}))
    reader.read(texts({"a.yaml": NOT_YAML}))
    reading = reader.read(texts({"a.yaml": service("two")}))
    assert names(reading) == ["two"]
    assert (reading.stale, reading.findings) == ((), ())


def test_a_file_stays_stale_for_as_long_as_it_is_broken() -> None:
    reader = Reader()
    reader.read(texts({"a.yaml": service("one")}))
    for _ in range(3):
        reading = reader.read(texts({"a.yaml": NOT_YAML}))
        assert names(reading) == ["one"]
        assert reading.stale == ("a.yaml",)


def test_a_file_that_cannot_be_opened_is_served_as_it_last_was() -> None:
    reader = Reader()
    reader.read(texts({"a.yaml": service("one"), "b.yaml": service("two")}))
    reading = reader.read(texts({"b.yaml": service("two")}, "a.yaml"))
    assert names(reading) == ["one", "two"]
    assert reading.stale == ("a.yaml",)


def test_nobody_knows_what_a_broken_new_file_would_guard() -> None:
    reading = Reader().read(texts({"a.yaml": NOT_YAML, "c.yaml": service("one")}, "b.yaml"))
    assert names(reading) == ["one"]
    assert reading.blind == ("a.yaml", "b.yaml")
    assert reading.stale == ()
    assert set(reading.texts) == {"c.yaml"}


def test_a_deleted_file_is_gone_with_its_resources() -> None:
    reader = Reader()
    reader.read(texts({"a.yaml": service("one"), "b.yaml": service("two")}))
    assert names(reader.read(texts({"b.yaml": service("two")}))) == ["two"]
    broken = reader.read(texts({"a.yaml": NOT_YAML, "b.yaml": service("two")}))
    assert broken.blind == ("a.yaml",)


def test_an_emptied_folder_is_a_fault_and_everything_stays() -> None:
    reader = Reader()
    reader.read(texts({"a.yaml": service("one"), "b.yaml": service("two")}))
    reading = reader.read(texts({}, vanished=True))
    assert names(reading) == ["one", "two"]
    assert reading.stale == ("a.yaml", "b.yaml")
    assert reasons(reading) == [Reason.STALE, Reason.STALE]


def test_a_folder_that_comes_back_counts_as_it_is_then() -> None:
    reader = Reader()
    reader.read(texts({"a.yaml": service("one"), "b.yaml": service("two")}))
    reader.read(texts({}, vanished=True))
    reading = reader.read(texts({"b.yaml": service("two")}))
    assert names(reading) == ["two"]
    assert reading.stale == ()


def test_the_copy_of_an_earlier_life_stands_in_for_broken_files() -> None:
    reading = Reader({"a.yaml": service("one"), "gone.yaml": service("two")}).read(texts({"a.yaml": NOT_YAML}))
    assert names(reading) == ["one"]
    assert (reading.stale, reading.blind) == (("a.yaml",), ())


def test_the_last_of_two_resources_with_one_name_counts() -> None:
    reading = Reader().read(texts({"a.yaml": service("one"), "b.yaml": service("one", port=81)}))
    assert [resource.origin.file for resource in reading.snapshot.resources] == ["b.yaml"]
    assert [(f.origin.file, f.problem.reason) for f in reading.findings] == [("a.yaml", Reason.DUPLICATE)]


def test_equal_texts_are_not_parsed_again() -> None:
    reader = Reader()
    files = {"a.yaml": service("one"), "b.yaml": service("two")}
    first = reader.read(texts(files))
    second = reader.read(texts({**files, "b.yaml": service("three")}))
    assert first.snapshot.resources[0].spec is second.snapshot.resources[0].spec


def test_resources_of_a_text_that_did_not_change_are_the_same_objects() -> None:
    reader = Reader()
    files = {"a.yaml": service("one"), "b.yaml": service("two")}
    before = reader.read(texts(files)).snapshot.resources
    after = reader.read(texts({**files, "b.yaml": service("two", port=81)})).snapshot.resources
    assert after[0] is before[0]
    assert after[1] != before[1]
    moved = reader.read(texts({**files, "a.yaml": f"{service('one')}---\n{service('half')}"})).snapshot.resources
    assert [each.order for each in moved] == [0, 1, 2]


def test_no_text_shows_in_a_representation_since_it_may_hold_secrets() -> None:
    reading = Reader().read(
        texts({"a.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: hush}"})
    )
    assert "hush" not in repr(reading)
