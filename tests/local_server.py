"""Servers on the loopback interface that fail as they are told, and an address where none is."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def nowhere():
    """An address on this computer at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


class Server(ThreadingHTTPServer):
    """Serves one content; `plan` has a word for each request: ok, 503, 404, break, reset, noresume."""

    daemon_threads = True

    def __init__(self, content, *plan):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.plan = content, list(plan)
        self.starts, self.broken_at = [], []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *details):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """Say nothing about broken connections; they are the point."""


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *details):
        """Stay quiet."""

    def do_GET(self):
        server = self.server
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        server.starts.append(start)
        word = server.plan.pop(0) if server.plan else "ok"
        if word in ("503", "404"):
            self.send_error(int(word))
            return
        if word == "reset":
            self.close_connection = True
            return
        content = server.content
        start = 0 if word == "noresume" else start
        if start:
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = len(content)
        if word == "break":
            end = (start + end) // 2
            server.broken_at.append(end)
        self.wfile.write(content[start:end])


def accepts(content):
    return lambda path: path.read_bytes() == content
