"""An S3 of our own for tests: enough of the protocol for pyarrow's client, and faults on demand.

It listens on loopback, keeps objects in memory and speaks plain HTTP: PUT, GET, HEAD, DELETE,
CopyObject, multipart uploads and ListObjectsV2 with a delimiter. Signatures are not checked.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "studies"


@dataclass
class Bucket:
    """What the server holds, and what it is to do wrong.

    `fault` is asked before each request with its method and key: it returns None, `fail` (answer
    503, do nothing), `lost` (do it, then answer 503) or `denied` (403).
    """

    objects: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    fault: Callable[[str, str], str | None] = lambda method, key: None
    clock_s: float = 0.0
    requests: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.clock_s)

    def put(self, key: str, content: bytes) -> None:
        self.objects[key] = (content, self.now())

    def url(self, folder: str) -> str:
        where = f"endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"
        return f"s3://{BUCKET}/{folder}?{where}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body in one packet
    disable_nagle_algorithm = True
    bucket: Bucket

    def handle_expect_100(self) -> bool:
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def log_message(self, *_: object) -> None:
        pass

    def _key(self) -> str:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        return path.removeprefix(BUCKET).lstrip("/")

    def _query(self) -> dict[str, str]:
        pairs = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        return {name: values[0] for name, values in pairs.items()}

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return content
        plain = b""
        while content:
            size_line, _, rest = content.partition(b"\r\n")
            length = int(size_line.partition(b";")[0], 16)
            if length == 0:
                break
            plain, content = plain + rest[:length], rest[length + 2 :]
        return plain

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _error(self, status: int, code: str) -> None:
        text = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>"
        self._answer(status, b"" if self.command == "HEAD" else text.encode())

    def _guarded(self, act: Callable[[], None]) -> None:
        key = self._key()
        self.bucket.requests.append((self.command, key))
        fault = self.bucket.fault(self.command, key)
        if fault is None:
            act()
            return
        if fault == "lost":
            real, self._answer = self._answer, lambda *_, **__: None  # type: ignore[method-assign]
            act()
            self._answer = real  # type: ignore[method-assign]
        else:
            self._body()
        denied = fault == "denied"
        self._error(403 if denied else 503, "AccessDenied" if denied else "ServiceUnavailable")

    def do_PUT(self) -> None:
        self._guarded(self._put)

    def do_GET(self) -> None:
        self._guarded(self._get)

    def do_HEAD(self) -> None:
        self._guarded(self._head)

    def do_DELETE(self) -> None:
        self._guarded(self._delete)

    def do_POST(self) -> None:
        self._guarded(self._post)

    def _put(self) -> None:
        key, query, body = self._key(), self._query(), self._body()
        source = self.headers.get("x-amz-copy-source")
        if source is not None:
            body = self.bucket.objects[unquote(source).lstrip("/").removeprefix(f"{BUCKET}/")][0]
            self.bucket.put(key, body)
            tag = hashlib.md5(body).hexdigest()
            self._answer(200, f"<CopyObjectResult><ETag>{tag}</ETag></CopyObjectResult>".encode())
        elif "uploadId" in query:
            self.bucket.uploads[query["uploadId"]][int(query["partNumber"])] = body
            self._answer(200, ETag=f'"{query["partNumber"]}"')
        else:
            self.bucket.put(key, body)
            self._answer(200, ETag='"x"')

    def _post(self) -> None:
        key, query = self._key(), self._query()
        self._body()
        if "uploads" in query:
            upload = f"u{next(self.bucket.numbers)}"
            self.bucket.uploads[upload] = {}
            text = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId>"
            self._answer(200, f"{text}</InitiateMultipartUploadResult>".encode())
        else:
            parts = self.bucket.uploads.pop(query["uploadId"])
            self.bucket.put(key, b"".join(parts[number] for number in sorted(parts)))
            text = "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
            self._answer(200, text.encode())

    def _get(self) -> None:
        if self._key():
            self._send(with_body=True)
        else:
            self._list()

    def _head(self) -> None:
        if self._key():
            self._send(with_body=False)
        else:
            self._answer(200)

    def _send(self, with_body: bool) -> None:
        found = self.bucket.objects.get(self._key())
        if found is None:
            self._error(404, "NoSuchKey")
            return
        content, written = found
        asked = self.headers.get("Range", "")
        status = 206 if asked else 200
        if asked:
            low, _, high = asked.removeprefix("bytes=").partition("-")
            content = content[int(low) : int(high) + 1 if high else None]
        self._answer(
            status,
            content if with_body else b"",
            Content_Length=str(len(content)),
            Last_Modified=format_datetime(written, usegmt=True),
            ETag='"x"',
        )

    def _delete(self) -> None:
        self.bucket.objects.pop(self._key(), None)
        self._answer(204)

    def _list(self) -> None:
        query = self._query()
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        found: list[str] = []
        folders: dict[str, None] = {}
        for key in sorted(dict(self.bucket.objects)):
            if not key.startswith(prefix):
                continue
            head, cut, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if cut:
                folders[prefix + head + cut] = None
                continue
            content, written = self.bucket.objects.get(key, (b"", self.bucket.now()))
            found.append(
                f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size>"
                f"<LastModified>{written:%Y-%m-%dT%H:%M:%S.000Z}</LastModified></Contents>"
            )
        common = [f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in folders]
        text = f"<KeyCount>{len(found) + len(common)}</KeyCount>{''.join(found + common)}"
        self._answer(200, f"<ListBucketResult>{text}</ListBucketResult>".encode())


@contextmanager
def s3_server() -> Iterator[Bucket]:
    """Serve an empty bucket on a free port."""
    bucket = Bucket()
    handler = type("Handler", (_Handler,), {"bucket": bucket})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    bucket.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield bucket
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
