"""The command line: one file per command, no logic of its own.

It is the only layer that reads the environment and prints. A module here imports at its top no more than typer and
`apostille.base`; what a command needs beyond that it imports inside its function, so that ``--help`` stays quick.
"""
