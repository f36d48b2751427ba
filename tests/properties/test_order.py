"""The order of files and documents means nothing where ages are known; where they are not, it is the age."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apostille.translate.pipeline import Translation
from tests.properties.strategies import Document, broken_sets, sound_documents, text_of
from tests.properties.world import emit, translate_documents, translate_files


def told(translation: Translation) -> set[tuple[object, ...]]:
    return {(finding.ref, finding.problem, finding.effect) for finding in translation.findings}


@given(data=st.data(), sound=sound_documents(), broken=broken_sets())
def test_shuffled_documents_and_files_give_the_same_bytes(
    data: st.DataObject, sound: list[Document], broken: list[Document]
) -> None:
    documents = [*sound, *broken]
    shuffled = data.draw(st.permutations(documents))
    cut = data.draw(st.integers(0, len(documents)))
    one = translate_documents(documents)
    two = translate_files({"a.yaml": text_of(shuffled[:cut]), "b/c.yaml": text_of(shuffled[cut:])})
    assert two.gateway == one.gateway
    assert emit(two.gateway) == emit(one.gateway)
    assert told(two) == told(one)


@given(data=st.data(), sound=sound_documents())
def test_without_times_the_place_in_reading_order_is_the_age(data: st.DataObject, sound: list[Document]) -> None:
    """However the same row of documents is cut into files."""
    for each in sound:
        del each["metadata"]["creationTimestamp"]
    cut = data.draw(st.integers(0, len(sound)))
    one = translate_documents(sound)
    two = translate_files({"a.yaml": text_of(sound[:cut]), "b.yaml": text_of(sound[cut:])})
    assert two.gateway == one.gateway
    assert told(two) == told(one)


@given(sound=sound_documents())
def test_times_that_agree_with_the_reading_order_change_nothing(sound: list[Document]) -> None:
    by_age = sorted(sound, key=lambda each: str(each["metadata"]["creationTimestamp"]))
    one = translate_documents(by_age)
    for each in by_age:
        del each["metadata"]["creationTimestamp"]
    assert translate_documents(by_age).gateway == one.gateway
