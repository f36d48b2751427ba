"""``apostille schema``: what may stand in a manifest, as JSON Schema, for editors and for checks elsewhere."""

from __future__ import annotations

from typing import Annotated

import typer

from apostille.base.errors import ApostilleError
from apostille.cli.output import print_json


def schema(
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="Such as RouteTable. None: one schema for all kinds.")
    ] = None,
) -> None:
    """Print the JSON Schema of a kind of resource, or of all kinds in one document.

    Steps and integrations are filled in. What a schema cannot say, `apostille check` says.
    """
    from apostille.integrations import INTEGRATIONS
    from apostille.resources.messages import nearest
    from apostille.resources.schema import joined_schema, json_schemas
    from apostille.steps import STEPS

    schemas = json_schemas({each.name: each.spec for each in STEPS}, {each.name: each.spec for each in INTEGRATIONS})
    if kind is None:
        print_json(joined_schema(schemas))
        return
    by_name = {name.rpartition("/")[2]: name for name in schemas}
    found = schemas.get(by_name.get(kind, kind))
    if found is None:
        near = nearest(kind, by_name)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(by_name)}"
        raise ApostilleError(f"there is no schema of {kind!r}; {hint}")
    print_json(found)
