"""A stand-in for the Hugging Face Hub: the few routes that huggingface_hub calls to download and to upload."""

import base64
import hashlib
import http.server
import json
import re
import threading
import urllib.parse

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer(http.server.ThreadingHTTPServer):
    """Repositories by name, each a dict of contents by path.

    Attributes:
        repositories: of the server.
        created: the body of each request that made a repository.
        requests: method and path of each request.
        failures: for a part of a path, what to answer with in place of what was asked: a status and headers, or None
            to hang up.
        token: the one that may write.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories, self.created, self.requests, self.failures, self.blobs = {}, [], [], {}, {}
        self.token = "hf_right"
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """A connection that was cut is no news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._answer()

    do_GET = do_POST = do_PUT = do_HEAD  # noqa: N815

    def log_message(self, *args):
        """Requests are kept by the server."""

    def _answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.server.requests.append((self.command, path))
        for part, failure in self.server.failures.items():
            if part in path:
                if failure is None:
                    self.close_connection = True
                    self.connection.close()
                    return
                self._send({"error": "refused"}, *failure)
                return
        for pattern, method in (
            (r"/api/models/([^/]+/[^/]+)(?:/revision/.*)?", self._info),
            (r"/api/models/([^/]+/[^/]+)/tree/[^/]+", self._tree),
            (r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", self._file),
            (r"/api/repos/create", self._create),
            (r"/api/validate-yaml", lambda body: self._send({"errors": [], "warnings": []})),
            (r"/api/models/([^/]+/[^/]+)/preupload/[^/]+", self._preupload),
            (r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self._lfs),
            (r"/blobs/(\w+)", self._blob),
            (r"/api/models/([^/]+/[^/]+)/commit/[^/]+", self._commit),
        ):
            found = re.fullmatch(pattern, path)
            if found:
                method(body, *found.groups())
                return
        self._send({"error": "no such route"}, 404)

    def _send(self, answer, status=200, headers=()):
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _files(self, name):
        files = self.server.repositories.get(name)
        if files is None:
            self._send({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        return files

    def _may_write(self):
        allowed = self.headers.get("Authorization") == f"Bearer {self.server.token}"
        if not allowed:
            self._send({"error": "Invalid username or password."}, 401)
        return allowed

    def _info(self, body, name):
        files = self._files(name)
        if files is not None:
            self._send({"id": name, "sha": COMMIT, "siblings": [{"rfilename": path} for path in files]})

    def _tree(self, body, name):
        files = self._files(name)
        if files is not None:
            self._send([{"type": "file", "path": path, "size": len(files[path]), "oid": "0"} for path in files])

    def _file(self, body, name, path):
        files = self._files(name)
        if files is None:
            return
        if path not in files:
            self._send({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        digest = hashlib.sha1(files[path]).hexdigest()
        self._send(files[path], 200, {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT})

    def _create(self, body):
        if not self._may_write():
            return
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        self.server.created.append(asked)
        status = 409 if name in self.server.repositories else 200
        self.server.repositories.setdefault(name, {})
        self._send({"url": f"{self.server.url}/{name}", "error": "You already created this model repo"}, status)

    def _preupload(self, body, name):
        if self._may_write() and self._files(name) is not None:
            files = [
                {"path": file["path"], "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular"}
                for file in json.loads(body)["files"]
            ]
            self._send({"files": [{**file, "shouldIgnore": False} for file in files], "commitOid": COMMIT})

    def _lfs(self, body, name):
        if self._may_write():
            objects = [
                {**each, "actions": {"upload": {"href": f"{self.server.url}/blobs/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            self._send({"transfer": "basic", "objects": objects}, 200, {"Content-Type": "application/vnd.git-lfs+json"})

    def _blob(self, body, oid):
        self.server.blobs[oid] = body
        self._send({})

    def _commit(self, body, name):
        if not self._may_write():
            return
        for line in body.splitlines():
            each = json.loads(line)
            value = each["value"]
            if each["key"] == "file":
                self.server.repositories[name][value["path"]] = base64.b64decode(value["content"])
            if each["key"] == "deletedFile":
                del self.server.repositories[name][value["path"]]
            if each["key"] == "lfsFile":
                self.server.repositories[name][value["path"]] = self.server.blobs[value["oid"]]
        url = f"{self.server.url}/{name}/commit/{COMMIT}"
        self._send({"success": True, "commitOid": COMMIT, "commitUrl": url})


@pytest.fixture
def hub_server(tmp_path, monkeypatch):
    """A `HubServer`, which huggingface_hub takes for the Hub, with an empty cache and no token."""
    from huggingface_hub import constants

    server = HubServer()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield server
    server.close()
