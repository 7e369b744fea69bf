"""A real HTTP server that speaks chat completions, for tests of models behind an API."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

from evaluators.engines.api import APIModel

KEY = "sk-not-to-be-seen"


@contextmanager
def chat_server() -> Iterator[SimpleNamespace]:
    """`replies(body, nth)` gives what it says to the nth question: a status, a body as text or JSON, and headers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with said.lock:
                said.bodies.append(body)
                nth = len(said.bodies)
            said.keys.add(self.headers["Authorization"])
            status, reply, *headers = said.replies(body, nth)
            self.send_response(status)
            for name, value in (headers[0] if headers else {"retry-after-ms": "1"}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write((reply if isinstance(reply, str) else json.dumps(reply)).encode())

        def log_message(self, *_):
            pass

    said = SimpleNamespace(bodies=[], keys=set(), lock=threading.Lock(), replies=lambda body, nth: (200, chat(body)))
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{serving.server_port}/v1"
    said.served = APIModel("far", url, "TEST_KEY", 2, "max_completion_tokens", {})
    yield said
    serving.shutdown()
    serving.server_close()


def chat(body: dict, **changed) -> dict:
    """The question said again, as an API's answer."""
    message = {"role": "assistant", "content": f"You said: {body['messages'][-1]['content']}"}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "far-2026-01-01",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", **changed.pop("choice", {})}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
        **changed,
    }
