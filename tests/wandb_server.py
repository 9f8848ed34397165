"""A W&B server of our own, for tests: enough of its interface that W&B's real client, sync and all, talks to it.

It keeps what arrives as W&B's would: runs by id, their history by line, artifacts by digest. It can refuse everything from
some moment on, as a network that is lost does.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

KEY = "a" * 40


class Server:
    """What has arrived: ``runs`` by id, ``artifacts`` as (collection, digest) to type, ``uses`` as (run, collection)."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[tuple[str, str], str] = {}
        self.uses: list[tuple[str, str]] = []
        self.files: dict[str, bytes] = {}
        self.unknown: list[str] = []
        self.refuses = False
        self.refused = 0
        self.refuses_after: str | None = None  # an operation, or file_stream
        self.lock = threading.Lock()
        self.ids: dict[str, tuple[str, str]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to find it."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}

    def history(self, run_id: str) -> list[dict[str, Any]]:
        """A run's rows in the order of their lines."""
        lines = self.runs[run_id]["history"]
        assert sorted(lines) == list(range(len(lines))), "lines are missing"
        return [json.loads(lines[number]) for number in sorted(lines)]

    def answer(self, operation: str, query: str, values: dict[str, Any]) -> dict[str, Any]:
        """What GraphQL gives back."""
        if operation == "UpsertBucket":
            run = self.runs.setdefault(values["name"], {"history": {}, "summary": {}, "exit": None, "upserts": 0})
            inserted = run["upserts"] == 0
            run["upserts"] += 1
            names = {"groupName": "group", "jobType": "job_type", "displayName": "name", "project": "project"}
            names |= {"notes": "notes", "entity": "entity", "host": "host", "program": "program", "commit": "commit"}
            run |= {own: values[theirs] for theirs, own in names.items() if values.get(theirs) is not None}
            if values.get("tags") is not None:
                run["tags"] = values["tags"]
            if values.get("config"):
                run["config"] = {key: node["value"] for key, node in json.loads(values["config"]).items()}
            place = {
                "id": "P",
                "name": values.get("project"),
                "entity": {"id": "E", "name": values.get("entity") or "team"},
            }
            bucket = {"id": values["name"], "name": values["name"], "displayName": run.get("name"), "config": "{}"}
            bucket |= {"description": None, "sweepName": None, "historyLineCount": len(run["history"]), "project": place}
            return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}
        if operation == "RunResumeStatus":
            run = self.runs.get(values["name"])
            return {"model": {"id": "P", "name": "p", "bucket": None if run is None else self.state_of(values["name"])}}
        if operation in ("Run", "RunHistoryKeys"):
            return {"project": {"run": self.state_of(values["name"]) if values["name"] in self.runs else None}}
        if operation == "RunParquetHistory":
            return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": []}}}}
        if operation == "HistoryPage":
            rows = [json.dumps(row) for row in self.history(values["run"])]
            return {"project": {"run": {"history": rows[values["minStep"] : values["maxStep"]]}}}
        if operation == "OrganizationCoreWeaveOrganizationID":
            return {"entity": None}
        if operation in ("Viewer", "GetDefaultEntity"):
            return {"viewer": {"id": "u", "entity": "team", "username": "somebody", "flags": "{}", "teams": {"edges": []}}}
        if operation == "CreateArtifact":
            given = values["input"]
            name = (given["artifactCollectionName"], given["digest"])
            there = name in self.artifacts
            self.artifacts[name] = given["artifactTypeName"]
            self.ids[":".join(name)] = (given["runName"] or "", name[0])
            artifact = {"id": ":".join(name), "state": "COMMITTED" if there else "PENDING"}
            return {"createArtifact": {"artifact": artifact | {"artifactSequence": {"id": "S", "latestArtifact": None}}}}
        if operation == "UseArtifact":
            given = values.get("input") or values
            self.uses.append((given["runName"], self.ids[given["artifactID"]][1]))
            return {"useArtifact": {"artifact": {"id": given["artifactID"]}}}
        if operation == "CreateArtifactManifest":
            given = values.get("input") or values
            name = f"manifest-{given.get('artifactID')}"
            file = {
                "id": "F",
                "name": name,
                "displayName": name,
                "uploadUrl": f"{self.url}/store/{name}",
                "uploadHeaders": [],
            }
            manifest = {"id": "M", "file": file}
            return {"createArtifactManifest": {"artifactManifest": manifest}}
        if operation == "CreateArtifactFiles":
            edges = []
            for number, spec in enumerate(values["input"]["artifactFiles"]):
                path = f"{spec['artifactID']}/{spec['name']}"
                node = {"id": str(number), "name": spec["name"], "displayName": spec["name"], "uploadHeaders": []}
                node |= {"uploadUrl": f"{self.url}/store/{path}", "storagePath": path, "uploadMultipartUrls": None}
                edges.append({"node": node | {"artifact": {"id": spec["artifactID"]}}})
            return {"createArtifactFiles": {"files": {"edges": edges}}}
        if operation == "CommitArtifact":
            given = values.get("input") or values
            return {"commitArtifact": {"artifact": {"id": given.get("artifactID"), "digest": "d"}}}
        if operation in ("CreateRunFiles", "CreateFiles"):
            given = values.get("input") or values
            files = [{"name": name, "uploadUrl": f"{self.url}/store/{given.get('run')}/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": given.get("run"), "uploadHeaders": [], "files": files}}
        if operation == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        if "__type" in query or "__schema" in query:
            return {"__type": None}
        self.unknown.append(operation)
        return {}

    def state_of(self, run_id: str) -> dict[str, Any]:
        """A run as W&B's public interface and a client that resumes it ask for it."""
        run = self.runs[run_id]
        last = len(run["history"]) - 1
        found = {"id": run_id, "name": run_id, "displayName": run["name"], "state": "finished", "notes": run.get("notes")}
        found |= {"config": json.dumps({key: {"value": value} for key, value in run.get("config", {}).items()})}
        found |= {"summaryMetrics": json.dumps(run["summary"]), "historyKeys": {"lastStep": last}, "tags": run.get("tags")}
        found |= {"historyLineCount": last + 1, "logLineCount": 0, "eventsLineCount": 0, "eventsTail": "[]"}
        # A client takes a run for one to be resumed if the telemetry in its config says that it has been started.
        found |= {"wandbConfig": json.dumps({"t": {}})}
        return found | {"historyTail": json.dumps([run["history"][last]] if run["history"] else [])}

    def stream(self, run_id: str, content: dict[str, Any]) -> None:
        """A chunk of a run's files."""
        run = self.runs[run_id]
        for name, part in content.get("files", {}).items():
            if name == "wandb-history.jsonl":
                run["history"] |= {part["offset"] + place: line for place, line in enumerate(part["content"])}
            elif name == "wandb-summary.json":
                run["summary"] = json.loads(part["content"][-1])
        if content.get("complete"):
            run["exit"] = content.get("exitcode")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_ours: Server

    def log_message(self, *_: Any) -> None:
        pass

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refused(self) -> bool:
        if self.server_of_ours.refuses:
            self.server_of_ours.refused += 1
            self.close_connection = True
            self.connection.close()
        return self.server_of_ours.refuses

    def do_GET(self) -> None:
        if not self._refused():
            self._send({})
            self.server_of_ours.refuses |= self.server_of_ours.refuses_after == "GET"

    def do_PUT(self) -> None:
        body = self._body()
        if not self._refused():
            self.server_of_ours.files[urlsplit(self.path).path] = body
            self._send({})

    def do_POST(self) -> None:
        body = self._body()
        if self._refused():
            return
        ours = self.server_of_ours
        if "json" not in self.headers.get("Content-Type", ""):
            # W&B's own telemetry.
            self._send({})
            return
        content = json.loads(body)
        with ours.lock:
            if self.path.endswith("/file_stream"):
                ours.stream(self.path.split("/")[-2], content)
                ours.refuses = ours.refuses or ours.refuses_after == "file_stream"
                answer: Any = {}
            else:
                operation = content.get("operationName") or re.search(r"(?:query|mutation)\s+(\w+)", content["query"])[1]
                answer = {"data": ours.answer(operation, content["query"], content.get("variables") or {})}
                ours.refuses = ours.refuses or operation == ours.refuses_after
        self._send(answer)


@contextmanager
def serving() -> Iterator[Server]:
    """A server, until the end of the block."""
    server = Server()
    handler = type("Handler", (_Handler,), {"server_of_ours": server})
    server.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.http.daemon_threads = True
    # Clients that end keep no connection.
    server.http.handle_error = lambda *_: None
    thread = threading.Thread(target=server.http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()
