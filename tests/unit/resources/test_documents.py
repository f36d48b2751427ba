from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apostille.resources.documents import MAX_ALIASES, MAX_BYTES, Document, DuplicateKey, Unreadable, read_documents


def one(text: str) -> Document:
    documents = read_documents(text)
    assert isinstance(documents, tuple)
    (document,) = documents
    return document


def refused(text: str) -> Unreadable:
    unreadable = read_documents(text)
    assert isinstance(unreadable, Unreadable)
    return unreadable


def test_a_mapping_entry_stands_at_its_key_and_a_list_entry_at_its_value() -> None:
    document = one("# comment\na:\n  b: [1, {c: 2}]\n  d:\n  - x\n  -   z\n")
    assert document.data == {"a": {"b": (1, {"c": 2}), "d": ("x", "z")}}
    assert document.places == {
        (): (2, 1),
        ("a",): (2, 1),
        ("a", "b"): (3, 3),
        ("a", "b", 0): (3, 7),
        ("a", "b", 1): (3, 10),
        ("a", "b", 1, "c"): (3, 11),
        ("a", "d"): (4, 3),
        ("a", "d", 0): (5, 5),
        ("a", "d", 1): (6, 7),
    }


def test_documents_are_separate_and_empty_ones_are_left_out() -> None:
    documents = read_documents("---\n# nothing\n---\na: 1\n---\n~\n---\nb: 2\n...\n")
    assert isinstance(documents, tuple)
    assert [document.data for document in documents] == [{"a": 1}, {"b": 2}]
    assert [document.places[()] for document in documents] == [(4, 1), (8, 1)]


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n---\n", "\ufeff"])
def test_a_text_without_content_has_no_documents(text: str) -> None:
    assert read_documents(text) == ()


def test_a_byte_order_mark_and_windows_line_ends_change_nothing() -> None:
    assert one("\ufeffa: 1\r\nb:\r\n- x\r\n").data == {"a": 1, "b": ("x",)}


def test_json_is_read_with_its_tabs_and_escapes() -> None:
    document = one('{\n\t"a": [1, 2.5, true, null],\n\t"b": "x\\/y\\u00e9"\n}')
    assert document.data == {"a": (1, 2.5, True, None), "b": "x/yé"}
    assert document.places["b",] == (3, 2)


def test_quoted_scalars_are_text() -> None:
    assert one("a: \"1\"\nb: 'yes'\nc: ''\nd: |\n  5\n").data == {"a": "1", "b": "yes", "c": "", "d": "5\n"}


def test_keys_are_text_as_written() -> None:
    assert one("on: 1\n404: 2\n").data == {"on": 1, "404": 2}


def test_a_key_written_twice_poisons_its_value_and_nothing_else() -> None:
    document = one("a:\n  x: 1\n  y: 2\n  x: 3\n  x: 4\nb: 5\n")
    assert document.data == {"a": {"x": DuplicateKey(first_line=2), "y": 2}, "b": 5}
    assert document.duplicates == (("a", "x"), ("a", "x"))
    assert document.places["a", "x"] == (5, 3)


def test_an_alias_stands_for_its_anchor_and_has_a_place_of_its_own() -> None:
    document = one("a: &x {k: [1]}\nb: *x\n")
    assert document.data == {"a": {"k": (1,)}, "b": {"k": (1,)}}
    assert document.places["b",] == (2, 1)
    assert ("b", "k") not in document.places


def test_merge_keys_fill_in_and_never_replace() -> None:
    document = one("base: &x {a: 1, b: 2}\nmore: &y {b: 9, c: 3}\nboth:\n  <<: [*x, *y]\n  a: 5\n")
    assert isinstance(document.data, dict)
    assert document.data["both"] == {"a": 5, "b": 2, "c": 3}
    assert document.places["both", "c"] == (4, 3)


def test_a_merge_key_needs_a_mapping() -> None:
    assert "merge key" in refused("a:\n  <<: 5\n").message


@pytest.mark.parametrize("brackets", ["[" * 100_000, "[" * 100_000 + "]" * 100_000, "{a: " * 100_000, "- " * 100_000])
def test_deep_nesting_is_refused_before_anything_recurses(brackets: str) -> None:
    unreadable = refused(brackets)
    assert "deeper than 64" in unreadable.message
    assert unreadable.line == 1


def test_aliases_cannot_nest_deeper_than_their_text() -> None:
    lines = ["a0: &a0 " + "[" * 40 + "]" * 40]
    lines += [f"a{n}: &a{n} " + "[" * 20 + f"*a{n - 1}" + "]" * 20 for n in range(1, 50)]
    assert "deeper than 64" in refused("\n".join(lines)).message


def test_a_billion_laughs_is_refused() -> None:
    lines = ["a0: &a0 [lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    unreadable = refused("\n".join(lines))
    assert "aliases" in unreadable.message
    assert unreadable.line > 1


def test_very_many_aliases_are_refused() -> None:
    assert "aliases" in refused("a: &x 1\nb: [" + "*x, " * (MAX_ALIASES + 1) + "]").message


def test_an_alias_inside_its_own_anchor_is_refused() -> None:
    assert "its own anchor" in refused("a: &x [*x]").message


def test_a_text_above_the_limit_is_refused() -> None:
    assert "5 MiB" in refused("#" + "x" * MAX_BYTES).message


def test_a_syntax_error_has_its_place() -> None:
    unreadable = refused("a: 1\nb: [1, 2\nc: 3\n")
    assert (unreadable.line, unreadable.column) == (3, 2)
    assert unreadable.message.startswith("This is not YAML")


def test_a_tab_as_indentation_is_named() -> None:
    unreadable = refused("a:\n\tb: 1\n")
    assert unreadable.line == 2
    assert "use spaces" in unreadable.message


@pytest.mark.parametrize("text", ["a: 1\nb: \x00", "a: 1\nbc\x07"])
def test_control_characters_are_refused_with_their_place(text: str) -> None:
    unreadable = refused(text)
    assert unreadable.line == 2
    assert "control character" in unreadable.message


def test_text_that_is_no_utf_8_is_refused() -> None:
    assert "UTF-8" in refused("a: 1\nb: \udcff").message


def test_a_template_is_recognised() -> None:
    assert "template" in refused("name: {{ .Values.name }}\n").message


@pytest.mark.parametrize("text", ["a: *canary", "a: !canary b", "a: !!int canary", "a: &x !!binary canary"])
def test_a_refusal_repeats_nothing_of_the_text(text: str) -> None:
    assert "canary" not in refused(text).message


@given(st.text(alphabet="ab:- \n\t[]{}&*!|>'\"#%@,0?<~\x00\ufeff\u2028é", max_size=60))
def test_no_text_raises_and_every_entry_has_a_place(text: str) -> None:
    documents = read_documents(text)
    if isinstance(documents, Unreadable):
        assert documents.line >= 1
        assert documents.column >= 1
        assert documents.message
    else:
        assert all(() in document.places and document.data is not None for document in documents)
