"""The words of the question that Envoy puts to the auth service, and of its answer.

Both sides must spell them alike, and neither may import the other. The client's copies of these headers never get that
far: Envoy overwrites them.
"""

from __future__ import annotations

CHECK_PREFIX = "/check"
OUR_HEADERS_PREFIX = "x-apostille-"

PROGRAM_HEADER = "x-apostille-program"
ROUTE_HEADER = "x-apostille-route"
PATH_HEADER = "x-apostille-path"
LENGTH_HEADER = "x-apostille-length"
ENCODING_HEADER = "x-apostille-transfer-encoding"

REASON_HEADER = "x-apostille-reason"
CONSUMER_HEADER = "x-apostille-consumer"
KEY_HEADER = "x-apostille-key"
TARGET_HEADER = "x-apostille-target"
# What stands behind the path from here on: a question mark and a query, or the question mark alone for none.
QUERY_HEADER = "x-apostille-query"
STATUS_HEADER = "x-apostille-status"

# Statuses that a denial may have besides 3xx and 4xx. Envoy takes a 5xx of the auth service for "no answer" and drops
# its headers and reason. So a 5xx travels as 403, with the true one in STATUS_HEADER, and Envoy's local reply mapper
# puts the true one back.
CARRIED_STATUSES = (500, 501, 502, 503, 504)

# The answer to a missing or unknown API key, whoever has looked: 401 with this reason and, in www-authenticate, these
# words.
KEY_REFUSED = "api_key_missing_or_invalid"
CHALLENGE = "API key is missing or invalid"
