"""Write type stubs for the Envoy messages we use: `xds-protos` ships none.

The messages are taken from the installed package itself, so stubs and code cannot disagree: every
``…_pb2`` module that our sources import is asked for its descriptor, descriptors and dependencies
go to protoc as a set, and protoc writes one ``.pyi`` each. The gRPC modules get a stub of their own,
for grpc.aio only, because that is the only gRPC we use.

The result goes to ``.stubs/``, which is not committed; nothing is done when it is up to date.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("src", "tests", "tools", "examples")
STAMP = "made-from"
# types-protobuf has these already, better than protoc writes them.
WELL_KNOWN = "google/protobuf/"


def imported_modules(sources: Iterable[Path]) -> set[str]:
    """Every ``…_pb2`` and ``…_pb2_grpc`` module named in an import of these Python files."""
    found: set[str] = set()
    for source in sources:
        text = source.read_text(encoding="utf-8")
        if "_pb2" not in text:
            continue
        for node in ast.walk(ast.parse(text, filename=str(source))):
            if isinstance(node, ast.Import):
                found.update(name.name for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
                found.update(f"{node.module}.{name.name}" for name in node.names)
    return {name for name in found if name.endswith(("_pb2", "_pb2_grpc")) and not name.startswith("google.protobuf.")}


def with_dependencies(files: Iterable[FileDescriptor]) -> list[FileDescriptor]:
    """The files and all they depend on, each after its dependencies, as protoc wants a set."""
    ordered: dict[str, FileDescriptor] = {}

    def visit(file: FileDescriptor) -> None:
        if file.name in ordered:
            return
        for dependency in file.dependencies:
            visit(dependency)
        ordered[file.name] = file

    for file in sorted(files, key=lambda file: file.name):
        visit(file)
    return list(ordered.values())


def run_protoc(files: list[FileDescriptor], out: Path) -> None:
    """Raises CalledProcessError when protoc refuses; its own words are on stderr then."""
    descriptors = FileDescriptorSet()
    for file in files:
        file.CopyToProto(descriptors.file.add())
    names = [file.name for file in files if not file.name.startswith(WELL_KNOWN)]
    with tempfile.NamedTemporaryFile(suffix=".binpb") as handle:
        handle.write(descriptors.SerializeToString(deterministic=True))
        handle.flush()
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={handle.name}", f"--pyi_out={out}"]
        subprocess.run([*command, *names], check=True)  # noqa: S603 - our own interpreter, names from descriptors


def module_of(file: FileDescriptor) -> str:
    return file.name.removesuffix(".proto").replace("/", ".").replace("-", "_") + "_pb2"


def grpc_service(service: ServiceDescriptor) -> Iterator[str]:
    callables: list[str] = []
    handlers: list[str] = []
    for method in service.methods:
        many_in, many_out = method.client_streaming, method.server_streaming
        taken, given = (
            f"{module_of(message.file)}.{message.full_name.removeprefix(message.file.package + '.')}"
            for message in (method.input_type, method.output_type)
        )
        shape = ("Stream" if many_in else "Unary") + ("Stream" if many_out else "Unary")
        callables.append(f"    {method.name}: grpc.aio.{shape}MultiCallable[{taken}, {given}]")
        request = f"request_iterator: AsyncIterator[{taken}]" if many_in else f"request: {taken}"
        answer = f"AsyncIterator[{given}]" if many_out else f"Awaitable[{given}]"
        context = f"context: grpc.aio.ServicerContext[{taken}, {given}]"
        handlers.append(f"    def {method.name}(self, {request}, {context}) -> {answer}: ...")
    yield f"class {service.name}Stub:"
    yield "    def __init__(self, channel: grpc.aio.Channel) -> None: ..."
    yield from callables
    yield f"class {service.name}Servicer:"
    yield from handlers or ["    pass"]
    yield (
        f"def add_{service.name}Servicer_to_server("
        f"servicer: {service.name}Servicer, server: grpc.aio.Server) -> None: ..."
    )


def grpc_stub(file: FileDescriptor) -> str:
    """The stub of the ``…_pb2_grpc`` module beside this file's messages."""
    services = [service for _, service in sorted(file.services_by_name.items())]
    messages = {
        module_of(message.file)
        for service in services
        for method in service.methods
        for message in (method.input_type, method.output_type)
    }
    head = ["from collections.abc import AsyncIterator, Awaitable", "import grpc.aio"]
    head += [f"import {module}" for module in sorted(messages)]
    body = [line for service in services for line in grpc_service(service)]
    return "\n".join([*head, *body, ""])


def mark_packages(out: Path) -> None:
    """`envoy` is a package of two wheels at run time; here it is one of our own, with its own markers."""
    for folder in sorted({parent for stub in out.rglob("*.pyi") for parent in stub.parents if out in parent.parents}):
        (folder / "__init__.pyi").touch()


def write_stubs(modules: set[str], out: Path) -> int:
    """How many stubs were written."""
    wanted = {name.removesuffix("_grpc") for name in modules}
    files = {name: importlib.import_module(name).DESCRIPTOR for name in sorted(wanted)}
    every = with_dependencies(files.values())
    run_protoc(every, out)
    for name in sorted(modules):
        if name.endswith("_grpc"):
            path = out / (name.replace(".", "/") + ".pyi")
            path.write_text(grpc_stub(files[name.removesuffix("_grpc")]), encoding="utf-8")
    written = len(list(out.rglob("*.pyi")))
    mark_packages(out)
    return written


def origin_of(modules: set[str]) -> str:
    """Equal for equal stubs: what is wanted, from which packages, by which version of this file."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for package in ("xds-protos", "grpcio-tools", "protobuf"):
        digest.update(f"{package}=={importlib.metadata.version(package)}\n".encode())
    digest.update("\n".join(sorted(modules)).encode())
    return digest.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description="Write type stubs for the Envoy messages our sources import.")
    parser.add_argument("--out", type=Path, default=ROOT / ".stubs")
    out: Path = parser.parse_args().out
    modules = imported_modules(source for folder in SOURCES for source in sorted((ROOT / folder).rglob("*.py")))
    origin = origin_of(modules)
    stamp = out / STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == origin:
        return 0
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    count = write_stubs(modules, out)
    stamp.write_text(origin, encoding="utf-8")
    print(f"stubs: {count} written to {out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
