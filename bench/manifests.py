"""The manifests of the measured gateway: one bucket behind any number of routes and keys. Pure.

Plain HTTP to the upstream, so that the cost of TLS, the same for all designs, does not hide the rest.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.design import ACCESS_KEY, BUCKET_HOST, KEY_HEADER, OBJECT_PATH, REGION, SECRET_KEY
from bench.envoy_config import route_prefix

ROUTES_A_TABLE = 100
KEYS_A_FILE = 1000

_GATEWAY = """\
apiVersion: networking.gloo.solo.io/v2
kind: VirtualGateway
metadata: {name: ingress, namespace: gateway}
spec:
  listeners: [{port: {number: 8080}, http: {}}]
"""

_BUCKET = """\
apiVersion: networking.gloo.solo.io/v2
kind: ExternalService
metadata: {{name: bucket, namespace: gateway}}
spec:
  hosts: [{host}]
  selector: {{is: bucket}}
  ports: [{{name: http, number: 80, protocol: HTTP, targetPort: {{name: http}}}}]
---
apiVersion: networking.gloo.solo.io/v2
kind: ExternalEndpoint
metadata: {{name: bucket, namespace: gateway, labels: {{is: bucket}}}}
spec:
  address: 127.0.0.1
  ports: [{{name: http, number: {port}}}]
"""

_OUTBOUND = """\
apiVersion: apostille.dev/v1
kind: OutboundAuthPolicy
metadata: {{name: s3, namespace: gateway}}
spec:
  applyToDestinations: [{{kind: EXTERNAL_SERVICE, selector: {{name: bucket}}}}]
  config:
    awsSigV4:
      service: s3
      region: {region}
      credentials: {{secretRef: {{name: aws}}}}{more}
---
apiVersion: v1
kind: Secret
metadata: {{name: aws, namespace: gateway}}
stringData: {{aws_access_key_id: {key}, aws_secret_access_key: {secret}}}
"""

# Streams of any size both ways; the upstream of the bench has no TLS, which would cover a body otherwise.
_STREAMING = """
      payload: UNSIGNED
      unsignedOverPlain: true
      allow: {methods: [GET, PUT]}"""

_SIGNER = """\
apiVersion: v1
kind: Service
metadata: {{name: signer, namespace: gateway}}
spec: {{ports: [{{name: http, port: 3000}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: signer-1, namespace: gateway, labels: {{kubernetes.io/service-name: signer}}}}
addressType: IPv4
ports: [{{name: http, port: {port}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"""

_INBOUND = """\
apiVersion: security.policy.gloo.solo.io/v2
kind: ExtAuthPolicy
metadata: {{name: users, namespace: gateway}}
spec:
  applyToRoutes: [{{route: {{labels: {{guard: users}}}}}}]
  config:
    glooAuth:
      configs:
      - name: key
        apiKeyAuth:
          headerName: {header}
          k8sSecretApikeyStorage: {{labelSelector: {{keys: users}}}}
"""

_ASK_SIGNER = """\
      - name: sign
        passThroughAuth:
          http:
            url: http://signer.gateway.svc.cluster.local:3000/sign
            response:
              allowedUpstreamHeaders: [authorization, x-amz-date, x-amz-content-sha256, x-amz-security-token]
          config: {{method: GET, path: {path}, host: {host}, region: {region}, service: s3}}
"""

_KEY = """\
apiVersion: v1
kind: Secret
type: extauth.solo.io/apikey
metadata: {{name: key-{number}, namespace: gateway, labels: {{keys: users}}}}
stringData: {{{header}: {key}}}
"""

_TABLE = """\
apiVersion: networking.gloo.solo.io/v2
kind: RouteTable
metadata: {{name: table-{number:04}, namespace: gateway}}
spec:
  hosts: ['*']
  virtualGateways: [{{name: ingress, namespace: gateway}}]
  http:
"""

_ROUTE = """\
  - name: r{number}
    labels: {{guard: users}}
    matchers: [{{uri: {{prefix: {prefix}}}}}]
    forwardTo:
      hostRewrite: {host}
      destinations: [{{kind: EXTERNAL_SERVICE, ref: {{name: bucket, namespace: gateway}}, port: {{number: 80}}}}]
"""

_SAYING = """\
  - name: r{number}
    matchers: [{{uri: {{prefix: {prefix}}}}}]
    directResponse: {{status: 200, body: {word}}}
"""


def manifests(
    upstream: int,
    *,
    routes: int = 1,
    keys: int = 1,
    signer: int | None = None,
    streaming: bool = False,
) -> Mapping[str, str]:
    """File name → text. `signer`: the port of one to ask instead of signing here. `streaming`: bodies of any size."""
    inbound = _INBOUND.format(header=KEY_HEADER)
    bucket = _BUCKET.format(host=BUCKET_HOST, port=upstream)
    files = {"gateway.yaml": _GATEWAY, "bucket.yaml": bucket}
    if signer is None:
        files["outbound.yaml"] = _OUTBOUND.format(
            region=REGION, key=ACCESS_KEY, secret=SECRET_KEY, more=_STREAMING if streaming else ""
        )
    else:
        inbound += _ASK_SIGNER.format(path=OBJECT_PATH, host=BUCKET_HOST, region=REGION)
        files["signer.yaml"] = _SIGNER.format(port=signer)
    files["inbound.yaml"] = inbound
    for first in range(0, keys, KEYS_A_FILE):
        some = range(first, min(first + KEYS_A_FILE, keys))
        files[f"keys-{first:06}.yaml"] = "---\n".join(
            _KEY.format(number=number, header=KEY_HEADER, key=api_key(number)) for number in some
        )
    for table in range(0, routes, ROUTES_A_TABLE):
        files[table_file(table)] = route_table(range(table, min(table + ROUTES_A_TABLE, routes)), alone=routes == 1)
    return files


def route_table(numbers: range, *, alone: bool = False, says: Mapping[int, str] | None = None) -> str:
    """One RouteTable. `says`: routes that answer with a word instead of leading to the bucket."""
    said = says or {}
    text = _TABLE.format(number=numbers[0] // ROUTES_A_TABLE)
    for number in numbers:
        prefix = "/" if alone else route_prefix(number)
        if number in said:
            text += _SAYING.format(number=number, prefix=prefix, word=said[number])
        else:
            text += _ROUTE.format(number=number, prefix=prefix, host=BUCKET_HOST)
    return text


def table_file(first: int) -> str:
    """The file of the table whose first route has this number."""
    return f"routes-{first // ROUTES_A_TABLE:04}.yaml"


def api_key(number: int) -> str:
    return f"demo-key-{number:05}"


def object_path(routes: int) -> str:
    """The path that the last route leads to the object by."""
    return OBJECT_PATH if routes == 1 else f"{route_prefix(routes - 1).rstrip('/')}{OBJECT_PATH}"
