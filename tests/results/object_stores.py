"""Studies in the S3 stand-in: places to write to, with no patience for faults."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hermes.results.object_place import ObjectPlace
from tests.results.s3_stand_in import BUCKET, Bucket

AWS = {
    "AWS_ACCESS_KEY_ID": "for-tests",
    "AWS_SECRET_ACCESS_KEY": "for-tests",
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1",
}


def place(bucket: Bucket, folder: str = "team/study", tries: int = 1) -> ObjectPlace:
    """Return a place whose client gives up at once, and which tries so many times itself."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    filesystem = S3FileSystem(
        endpoint_override=f"127.0.0.1:{bucket.port}",
        scheme="http",
        region="us-east-1",
        request_timeout=30,  # a busy machine may take its time
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=1),
    )
    pauses = (0.0,) * (tries - 1)
    return ObjectPlace(f"s3://{BUCKET}/{folder}", filesystem, f"{BUCKET}/{folder}", None, pauses)


@contextmanager
def moto_server() -> Iterator[str]:
    """Serve moto's S3, a stand-in that others wrote; yield the query of its URLs."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < end, "moto does not start"
                time.sleep(0.1)
        yield f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    finally:
        server.kill()
        server.wait()
