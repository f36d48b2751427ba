"""nginx as a plain proxy with a keep-alive pool, where it is installed: as little as a proxy can cost."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench.design import BUCKET_HOST, OBJECT_PATH, Group, NotHere, Place, Running
from bench.load import Target
from bench.processes import free_port, run_program

_CONFIG = """\
{user}
worker_processes {workers};
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream bucket {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    keepalive_requests 100000000;
    location / {{
      proxy_pass http://bucket;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host {host};
    }}
  }}
}}
"""


@dataclass(frozen=True, kw_only=True)
class BareNginx:
    name: str = "bare-nginx"
    title: str = "bare nginx"
    group: Group = "main"
    scale: int = 1
    follows: str = ""
    checks_key: bool = False
    signs: bool = False

    @asynccontextmanager
    async def start(self, place: Place) -> AsyncIterator[Running]:
        # Debian puts it where only root looks.
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")
        if program is None:
            raise NotHere("nginx is not installed (on Debian: apt install nginx-light)")
        port = free_port()
        file = place.folder / "nginx.conf"
        file.write_text(
            _CONFIG.format(
                # Otherwise the workers would be nobody, who may not enter a private folder.
                user="user root;" if os.geteuid() == 0 else "",
                workers=place.cores,
                folder=place.folder,
                upstream=place.upstream,
                port=port,
                host=BUCKET_HOST,
            )
        )
        argv = (program, "-c", str(file), "-p", str(place.folder), "-e", str(place.folder / "error.log"))
        async with run_program(argv, place.folder, port=port) as process:
            yield Running(roots=(process.pid,), target=Target(port=port, path=OBJECT_PATH))

    async def check(self, _: Running) -> None:
        """Nothing to doubt."""
