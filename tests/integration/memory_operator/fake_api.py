"""Stands in for the API in tests of the runner: answers /readyz, and ends in the ways that its environment asks for.

``python fake_api.py FOLDER``: each start appends a line with the environment to FOLDER/starts.
"""

import http.server
import json
import os
import sys
from pathlib import Path

folder = Path(sys.argv[1])
with (folder / "starts").open("a") as starts:
    starts.write(json.dumps({"pid": os.getpid(), "environment": dict(os.environ)}) + "\n")

if (folder / "broken").exists():
    print(json.dumps({"level": "critical", "message": "the fake is broken"}), file=sys.stderr, flush=True)
    sys.exit(3)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if (folder / "unready").exists() else 200)
        self.end_headers()

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = True


Server(("127.0.0.1", int(os.environ.get("SOMA_API_PORT", "9595"))), Handler).serve_forever()
