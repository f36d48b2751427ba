"""The command ``apostille``: puts the commands together and turns errors into exit codes.

Exit codes: 0 done; 1 a problem was found, or the task failed; 2 wrong usage; 3 the gateway cannot be reached; 4 it
refuses; 5 there is no such key; 70 a child process kept dying; 130 cancelled. A command that worked and found a
problem raises ``typer.Exit(1)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from apostille.base.errors import ApostilleError
from apostille.cli.auth import auth
from apostille.cli.check import check
from apostille.cli.control_plane import control_plane
from apostille.cli.demo import demo
from apostille.cli.keys import keys
from apostille.cli.output import print_error
from apostille.cli.run import run
from apostille.cli.schema import schema
from apostille.cli.sign import sign
from apostille.cli.version import show_version

# Without rich's mark-up `--help` needs half the time and stays readable in logs; without pretty exceptions a
# traceback shows no local variables, which may hold secrets.
app = typer.Typer(
    name="apostille",
    help="An API gateway for calling services that are not yours.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# A command is a function in a file of its own and one line here, a group of commands is a file of its own.
app.command("run")(run)
app.command("check")(check)
app.command("demo")(demo)
app.command("sign")(sign)
app.add_typer(keys, name="keys")
app.command("schema")(schema)
app.command("version")(show_version)
# What `run` starts as processes of their own.
app.command("control-plane", hidden=True)(control_plane)
app.command("auth", hidden=True)(auth)


@dataclass(slots=True, kw_only=True)
class Invocation:
    """What the options before the command's name say; a command gets at it with ``context.obj``."""

    debug: bool = False


@app.callback()
def read_global_options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")] = False,
) -> None:
    context.ensure_object(Invocation).debug = debug


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` of None means those of the process."""
    invocation = Invocation()
    try:
        app(arguments, prog_name="apostille", obj=invocation)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1
    except KeyboardInterrupt:
        return 130
    except ApostilleError as error:
        if invocation.debug:
            import traceback

            traceback.print_exception(error)
        print_error(str(error))
        return error.exit_code
    return 0
