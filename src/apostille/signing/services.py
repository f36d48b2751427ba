"""What single AWS services demand of the payload hash, besides what Signature Version 4 says for all of them.

It must not know requests. Sources: botocore's models and signers (``s3v4``, ``unsigned-body``), the signers of AWS's
SDK for Go, "Signing requests" of OpenSearch Serverless and "SIGv4 authenticated requests for Amazon VPC Lattice".
"""

from __future__ import annotations

from apostille.signing.canonical import is_s3

# They want ``x-amz-content-sha256`` with every request, and have the path rules of all other services.
_HASH_HEADER = frozenset({"aoss", "glacier", "vpc-lattice-svcs"})
# They have operations whose body is never covered. Every other service compares the hash of what it got.
_UNSIGNED = frozenset({"aoss", "ebs", "lex", "mediastore", "omics", "vpc-lattice-svcs"})
# It cannot check the hash of a body, not even of an empty one.
_ONLY_UNSIGNED = frozenset({"vpc-lattice-svcs"})


def demands_hash_header(service: str) -> bool:
    """Whether the payload hash also has to be sent, as ``x-amz-content-sha256``."""
    return is_s3(service) or service in _HASH_HEADER


def takes_unsigned(service: str) -> bool:
    """Whether ``UNSIGNED-PAYLOAD`` is known to be good for a body. A service that is not known here may take it too."""
    return is_s3(service) or service in _UNSIGNED


def takes_only_unsigned(service: str) -> bool:
    return service in _ONLY_UNSIGNED
