"""The part of `store` that talks to object stores, through Arrow: where they are, how they fail, and whole uploads.

Arrow is imported only here and only when a store is in use: who has everything on a disk never waits for it.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import urlsplit

from .errors import FeatdexError, UsageError

SCHEMES = ("s3", "gs")
CONNECT_SECONDS = 3
SILENT_SECONDS = 10
ATTEMPTS = 3

_GCS_SECONDS = 15
_SMALL_BYTES = 8 << 20
"""Arrow uploads what is smaller in one request, the rest in parts of 10 MB."""


class Address(NamedTuple):
    """A place in an object store; the prefix has no slash at its ends and may be empty."""

    scheme: str
    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")


def parse(text: str) -> Address:
    """Take apart `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`; the prefix is taken literally.

    Raises:
        UsageError: It is none of these, or holds what no prefix can have.
    """
    scheme, _, rest = text.partition("://")
    wanted = "name s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"
    if scheme not in SCHEMES:
        raise UsageError(f"no object store is called {scheme}://; {wanted}, or a folder")
    bucket, _, prefix = rest.partition("/")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", bucket):
        # It may hold a key that somebody wrote before an @: not to be repeated.
        shown = "" if "@" in bucket or ":" in bucket else f" {bucket!r}"
        raise UsageError(f"{scheme}:// is followed by no name of a bucket{shown}; {wanted}, keys belong elsewhere")
    prefix = prefix.strip("/")
    if bad := re.search(r"[?#*\[\]\\\x00-\x1f\x7f]|//|(^|/)\.{1,2}(/|$)", prefix):
        raise UsageError(f"{text} has {bad[0]!r} in its prefix, which a dataset can't have; {wanted}")
    return Address(scheme, bucket, prefix)


def endpoint_of(scheme: str) -> str | None:
    """Return the address of the server that the environment names, None for Amazon's or Google's own."""
    names = {
        "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        "gs": ("STORAGE_EMULATOR_HOST", "CLOUD_STORAGE_EMULATOR_ENDPOINT"),
    }
    for name in names[scheme]:
        if value := os.environ.get(name):
            url = value if "://" in value else f"{'https' if scheme == 's3' else 'http'}://{value}"
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.netloc:
                raise UsageError(f"{name} is {value!r}, which is no address; set it to http://HOST:PORT or https://…")
            return url.rstrip("/")
    return None


def region_of() -> str | None:
    """Return the region that the environment names."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None


def open_filesystem(address: Address, *, delayed: bool = True) -> Any:
    """Return Arrow's file system for a store, a `pyarrow.fs.FileSystem`; S3's asks the network only for a region.

    Args:
        address: The store.
        delayed: Let S3's streams ask for nothing before there is something to write: one request for a small file,
            where it would be three.

    Raises:
        UsageError: The environment names no possible server.
        OSError: The region of the bucket can't be found out.
    """
    from pyarrow import fs

    endpoint = endpoint_of(address.scheme)
    options: dict[str, Any] = {}
    if endpoint:
        parts = urlsplit(endpoint)
        options |= {"scheme": parts.scheme, "endpoint_override": parts.netloc + parts.path}
    if address.scheme == "gs":
        # An emulator takes no credentials.
        return fs.GcsFileSystem(
            anonymous=endpoint is not None, retry_time_limit=timedelta(seconds=_GCS_SECONDS), **options
        )
    region = region_of() or ("us-east-1" if endpoint else fs.resolve_s3_region(address.bucket))
    return fs.S3FileSystem(
        region=region,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=SILENT_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        allow_delayed_open=delayed,
        tls_ca_file_path=os.environ.get("AWS_CA_BUNDLE") or None,
        **options,
    )


def upload(address: Address, filesystem: Any, key: str, source: BinaryIO) -> None:
    """Make a file of the disk an object, which nobody sees before it is whole.

    Whatever becomes of one of Arrow's streams, its end completes the object as far as it was written. So the content
    is handed over in one call, in a thread that no Ctrl-C reaches: a caller that is interrupted waits for it.

    Raises:
        OSError: It could not be written; there is no object, or the one that was there before.
    """
    import pyarrow as pa

    source.flush()
    n_bytes = os.fstat(source.fileno()).st_size
    if n_bytes <= _SMALL_BYTES:
        source.seek(0)
        content = pa.py_buffer(source.read())
    else:
        # A delayed stream that can't begin an upload in parts makes an empty object when it is destroyed.
        filesystem = open_filesystem(address, delayed=False)
        content = pa.py_buffer(mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ))
    keep = n_bytes <= _SMALL_BYTES or address.scheme == "gs"
    with ThreadPoolExecutor(1, "featdex-upload") as thread:
        thread.submit(_put, filesystem, key, content, keep_failed=keep).result()


def _put(filesystem: Any, key: str, content: Any, *, keep_failed: bool) -> None:
    stream = filesystem.open_output_stream(key)
    try:
        stream.write(content)
        stream.close()
    except BaseException:
        if keep_failed:
            # Once destroyed it would try again, holding every thread of Python, and complain on stderr: it never is.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(stream))
        raise


@contextmanager
def gathered() -> Iterator[BinaryIO]:
    """Give a file on the disk in which an object is gathered before it goes anywhere.

    It has no name, where the system can do so: a kill leaves nothing.

    Raises:
        FeatdexError: There is no room for it.
    """
    try:
        with tempfile.TemporaryFile() as scratch:
            yield cast(BinaryIO, scratch)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        folder = tempfile.gettempdir()
        raise FeatdexError(
            f"{folder}, where files for an object store are gathered: {error.strerror}; set TMPDIR to"
            " a folder with room"
        ) from error
