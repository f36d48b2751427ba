"""The worked example's manifests, pointed at stand-ins on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from apostille.base.errors import StartError
from apostille.base.secrets import SecretText

BUCKET_LABELS = {"demo": "bucket"}

# A document of YAML: whatever was written. It is changed in three places and written out again.
Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPlaces:
    """Ports on 127.0.0.1, and the file of the authority that vouches for the bucket's name."""

    internal: int
    signer: int
    bucket: int
    authority: Path


def find_example(name: str) -> Path:
    """The folder ``examples/NAME``: beside the sources, or inside an installed wheel. Raises StartError."""
    for examples in (Path(__file__).parent / "examples", Path(__file__).parents[3] / "examples"):
        if (examples / name / "manifests").is_dir():
            return examples / name
    raise StartError("the examples are not installed along; run the demo from a clone of the repository")


def write_signer_example(target: Path, places: LocalPlaces) -> None:
    """The manifests of the example with a signer; Services and the bucket are found on this machine."""
    for file in sorted((find_example("s3-signer-node") / "manifests").glob("*.yaml")):
        documents = [_local(document, places) for document in _documents(file)]
        if any(document["kind"] == "ExternalService" for document in documents):
            documents.append(_bucket_endpoint(places.bucket))
        (target / file.name).write_text("---\n".join(_lines(documents)))


def write_signed_example(target: Path, access_key: str, secret_key: SecretText) -> None:
    """What the example without a signer has of its own; it uses gateway, bucket and API key of the other one."""
    (file,) = (find_example("s3") / "manifests").glob("*.yaml")
    documents = [
        each for each in _documents(file) if each["kind"] in ("RouteTable", "ExtAuthPolicy", "OutboundAuthPolicy")
    ]
    documents.append(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "aws", "namespace": "gateway"},
            "stringData": {"aws_access_key_id": access_key, "aws_secret_access_key": secret_key.reveal()},
        }
    )
    path = target / "60-signed-here.yaml"
    path.touch(mode=0o600)
    path.write_text("---\n".join(_lines(documents)))


def _documents(file: Path) -> list[Document]:
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def _lines(documents: list[Document]) -> Iterator[str]:
    return (yaml.safe_dump(document, sort_keys=False) for document in documents)


def _local(document: Document, places: LocalPlaces) -> Document:
    match document["kind"]:
        case "EndpointSlice":
            ports: Mapping[str, int] = {"httpbin-1": places.internal, "sigv4-signer-1": places.signer}
            document["ports"][0]["port"] = ports[document["metadata"]["name"]]
        case "ExternalService":
            # Endpoints of our own instead of DNS; the name stays what is asked for and what is verified.
            document["spec"]["selector"] = dict(BUCKET_LABELS)
            document["spec"]["ports"][0]["targetPort"] = {"name": "https"}
            document["spec"]["ports"][0]["clientsideTls"] = {"caCertificates": str(places.authority)}
    return document


def _bucket_endpoint(port: int) -> Document:
    return {
        "apiVersion": "networking.gloo.solo.io/v2",
        "kind": "ExternalEndpoint",
        "metadata": {"name": "s3-bucket", "namespace": "gateway", "labels": dict(BUCKET_LABELS)},
        "spec": {"address": "127.0.0.1", "ports": [{"name": "https", "number": port}]},
    }
