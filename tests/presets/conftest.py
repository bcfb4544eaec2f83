import http.server
import threading
import types
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from keras_sae.layers import KSparse
from keras_sae.models import DenseAutoencoder

X = np.random.default_rng(0).uniform(size=(8, 12)).astype("float32")


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """A directory with one preset, called `preset`, not to be changed."""
    directory = tmp_path_factory.mktemp("published")
    DenseAutoencoder(12, 6, sparsity=KSparse(2, alpha=2), tied=True).save_to_preset(directory / "preset", examples=X)
    return directory


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(self.path.split("?")[0])
        self.server.log.append(path)
        status, headers, body = self.server.answer(path)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """Starts a server on this machine: `serve(directory or function from a path to (status, headers, body))`."""
    servers = []

    def start(source, tls=None):
        def file(path):
            wanted = Path(source) / path.lstrip("/")
            return (200, {}, wanted.read_bytes()) if wanted.is_file() else (404, {}, b"no such file")

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.log, server.answer = [], source if callable(source) else file
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        scheme = "https" if tls else "http"
        return types.SimpleNamespace(url=f"{scheme}://127.0.0.1:{server.server_port}", log=server.log, file=file)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The cache of fetched presets, empty."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras" / "keras_sae" / "presets"
