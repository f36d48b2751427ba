"""An entry whose kind is a plug-in: one field, named for the kind, with settings that the kind itself understands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import ConfigDict, model_validator
from pydantic.alias_generators import to_camel

from apostille.resources.resource import Spec
from apostille.resources.rules import listed, wrong, wrong_at
from apostille.status.reasons import Reason


class PluginEntry(Spec):
    """Exactly one kind, beside the fields that a subclass declares. `called` and `example` are for messages."""

    model_config = ConfigDict(extra="allow")

    called: ClassVar[str] = "kind"
    example: ClassVar[str] = ""

    @property
    def field(self) -> str:
        """The kind's key as it was written: the part of the path that leads to `settings`."""
        return next(iter(self.model_extra or {}))

    @property
    def kind(self) -> str:
        """The kind's key in the spelling of manifests, such as ``apiKeyAuth``."""
        return to_camel(self.field) if "_" in self.field else self.field

    @property
    def settings(self) -> Mapping[str, object]:
        settings = (self.model_extra or {})[self.field]
        return settings if isinstance(settings, Mapping) else {}

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        kinds = self.model_extra or {}
        if not kinds:
            raise wrong(f"The {self.called} is missing; write one such as {self.example}.", Reason.MISSING_FIELD)
        if len(kinds) > 1:
            raise wrong(
                f"{listed(tuple(kinds), 'and')} stand in one entry; each {self.called} needs an entry of its own."
            )
        if not isinstance(kinds[self.field], Mapping):
            text = f"`{self.field}` must be a mapping (name: value); write {{}} for a {self.called} without settings."
            raise wrong_at(type(self).__name__, ((self.field,), wrong(text)))
        return self
