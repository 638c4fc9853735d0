"""A 3D service in the test: answers at once, but holds a prompt with `held` in it until it is let go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

GAUSSIANS = 7_500
PLY = (
    f"ply\nformat binary_little_endian 1.0\nelement vertex {GAUSSIANS}\nproperty float x\nend_header\n".encode()
    + bytes(4 * GAUSSIANS)
)


class ThreeD:
    """Where it is, and the two moments of a held request."""

    def __init__(self) -> None:
        self.url = ""
        self.holds, self.let_go = Event(), Event()


@contextmanager
def running_three_d() -> Iterator[ThreeD]:
    """Serve on loopback, on a free port."""
    three_d = ThreeD()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if b"held" in self.rfile.read(int(self.headers["Content-Length"])):
                three_d.holds.set()
                three_d.let_go.wait(60)
            self.send_response(200)
            self.send_header("Content-Length", str(len(PLY)))
            self.send_header("X-Gaussians", str(GAUSSIANS))
            self.end_headers()
            self.wfile.write(PLY)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who asked may be killed meanwhile
    three_d.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield three_d
    finally:
        three_d.let_go.set()
        server.shutdown()
        thread.join()
        server.server_close()
