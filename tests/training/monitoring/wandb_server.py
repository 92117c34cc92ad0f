"""Serve the part of the Weights & Biases API that its client needs to log and to resume a run, for tests.

    python wandb_server.py

Prints its address. `GET /runs/ID` returns the content of a run: `config`, the lines of `history` and the names of
`files`. Any API key is accepted.
"""

import gzip
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HISTORY, EVENTS = "wandb-history.jsonl", "wandb-events.jsonl"
USER = {"id": "user", "entity": "user", "username": "user", "flags": "{}", "teams": {"edges": []}}
RUNS: dict[str, dict[str, Any]] = {}


def run_of(name: str) -> dict[str, Any]:
    """Return the content of a run."""
    return RUNS.setdefault(name, {"config": {}, "lines": {HISTORY: [], EVENTS: []}, "files": []})


def bucket(name: str) -> dict[str, Any]:
    """Return a run in the form that the client expects."""
    run = run_of(name)
    history, events = run["lines"][HISTORY], run["lines"][EVENTS]
    project = {"id": "project", "name": "sineformer", "entity": {"id": "user", "name": "user"}}
    return {
        **{"id": name, "name": name, "displayName": name, "project": project, "config": json.dumps(run["config"])},
        **{"historyLineCount": len(history), "eventsLineCount": len(events), "logLineCount": 0, "tags": []},
        **{"historyTail": json.dumps(history[-1:]), "eventsTail": json.dumps(events[-1:])},
        **{"summaryMetrics": "{}", "wandbConfig": json.dumps({"t": 1})},  # without `t` the run counts as new
    }


def answer(operation: str, variables: dict[str, Any], address: str) -> dict[str, Any]:
    """Return the data for a GraphQL query."""
    if operation == "Viewer":
        return {"viewer": USER}
    if operation == "RunResumeStatus":
        found = bucket(variables["name"]) if variables["name"] in RUNS else None
        return {
            "model": {"id": "project", "name": "sineformer", "entity": {"id": "user", "name": "user"}, "bucket": found}
        }
    if operation == "UpsertBucket":
        inserted = variables["name"] not in RUNS
        run_of(variables["name"])["config"].update(json.loads(variables["config"] or "{}"))
        return {"upsertBucket": {"bucket": bucket(variables["name"]), "inserted": inserted}}
    if operation == "CreateRunFiles":
        urls = [{"name": file, "uploadUrl": f"{address}/{variables['run']}/{file}"} for file in variables["files"]]
        return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": urls}}
    return {}


class Server(ThreadingHTTPServer):
    """Ignore clients that disconnect."""

    def handle_error(self, *_: Any) -> None:
        """Say nothing."""


class Handler(BaseHTTPRequestHandler):
    """Handle the requests of one client."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        run = run_of(self.path.rpartition("/")[2])
        history = [json.loads(line) for line in run["lines"][HISTORY]]
        self._send({"config": run["config"], "history": history, "files": run["files"]})

    def do_PUT(self) -> None:
        _, run, file = self.path.split("/", 2)
        self._body()
        run_of(run)["files"].append(file)
        self._send({})

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/graphql":
            query = json.loads(body)
            address = f"http://{self.headers['Host']}"
            self._send({"data": answer(query.get("operationName", ""), query.get("variables") or {}, address)})
            return
        if self.path.endswith("/file_stream"):
            lines = run_of(self.path.split("/")[-2])["lines"]
            for file, chunk in json.loads(body).get("files", {}).items():
                if file in lines:
                    lines[file][chunk["offset"] :] = chunk["content"]
        self._send({})

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _send(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
