from __future__ import annotations

from apostille.keys.store import KeyStore
from tests.unit.admin.serving import serving


async def test_smoke(store: KeyStore) -> None:
    async with serving(store) as it:
        made = await it.create(labels={"plan": "gold"})
        print(made)
        id_ = made["record"]["id"]
        for m, p, b in [("GET", f"/v1/keys/{id_}", None), ("GET", "/v1/keys", None), ("GET", "/v1/keys?limit=0&x=1", None),
            ("PATCH", f"/v1/keys/{id_}", {"name": "x", "labels": None}), ("PATCH", f"/v1/keys/{id_}", {"name": "x"}),
            ("POST", f"/v1/keys/{id_}/rotate", {"grace": "1h"}), ("POST", f"/v1/keys/{id_}/rotate", {"grace": "1h"}),
            ("POST", f"/v1/keys/{id_}/revoke", {}), ("GET", "/v1/keys/export", None), ("DELETE", f"/v1/keys/{id_}", None), ("GET", "/x", None),
            ("PUT", "/v1/keys", None), ("GET", "/v1/keys/"+made["key"], None), ("GET", "/openapi.json", None)]:
            a = await it.ask(m, p, b)
            print(m, p, a.status, dict(a.headers), a.text[:1500])
        for line in it.audit: print(line)
        raise AssertionError
