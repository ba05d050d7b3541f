"""What object stores say, or fail to say, as one line that says what to do.

Arrow passes on the names of the SDKs' errors inside its own text, and a request that has no body (HEAD) only tells its
status: wrong keys, missing rights and a missing bucket can look the same.
"""

from __future__ import annotations

import re

from .errors import FeatdexError
from .store_remote import Address, endpoint_of, region_of

_AGAIN = "run it again: what was there before is whole"
_CAUSES = (
    ("no_bucket", r"NO_SUCH_BUCKET|NoSuchBucket|[Bb]ucket '[^']*' not found|bucket does not exist"),
    (
        "keys",
        r"INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|InvalidToken|TOKEN_ID|EXPIRED_TOKEN|ExpiredToken"
        r"|UNRECOGNIZED_CLIENT|InvalidClientToken|UNAUTHENTICATED|AuthFailure|invalid_grant",
    ),
    ("rights", r"ACCESS_DENIED|PERMISSION_DENIED|HTTP status 40[13]|AccessDenied|Forbidden"),
    ("region", r"HTTP status 30[17]|PermanentRedirect|AuthorizationHeaderMalformed"),
    ("clock", r"TIME_TOO_SKEWED|TimeTooSkewed"),
    ("busy", r"SLOW_DOWN|INTERNAL_FAILURE|SERVICE_UNAVAILABLE|THROTTLING|HTTP status (429|5\d\d)"),
    (
        "connection",
        r"NETWORK_CONNECTION|curlCode|UNAVAILABLE|DEADLINE_EXCEEDED|(Could ?n.t|Could not) (connect|resolve)",
    ),
    ("refused", r"InvalidBucketName|INVALID_PARAMETER|HTTP status 400"),
)
_RIGHTS = {
    "HeadObject": "s3:GetObject and s3:ListBucket",
    "GetObject": "s3:GetObject",
    "HeadBucket": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
}
_KEYS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the role of this machine",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or the account of this machine",
}
_SERVERS = {"s3": "Amazon S3", "gs": "Google Cloud Storage"}
_SERVER_VARIABLES = {"s3": "AWS_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST"}


def fault(place: str, address: Address, error: OSError) -> FeatdexError:
    """Return what went wrong at a place of an object store."""
    if isinstance(error, FileNotFoundError):
        return FeatdexError(f"{place}: there is no such file")
    return FeatdexError(f"{place}: {_reason(address, ' '.join(str(error).split()))}")


def no_bucket(address: Address) -> str:
    """Return what to say where the bucket is missing."""
    server = endpoint_of(address.scheme)
    return f"there is no bucket {address.bucket}{f' at {server}' if server else ''}; make it, or name another one"


def _reason(address: Address, text: str) -> str:
    scheme = address.scheme
    server = endpoint_of(scheme) or _SERVERS[scheme]
    match next((cause for cause, pattern in _CAUSES if re.search(pattern, text)), None):
        case "no_bucket":
            return no_bucket(address)
        case "keys":
            return f"{server} does not know these credentials; set others: {_KEYS[scheme]}"
        case "rights":
            operation = re.search(r"during (\w+) operation", text)
            right = _RIGHTS.get(operation[1] if operation else "", "s3:PutObject")
            lacking = right if scheme == "s3" else "the right to do this"
            return f"access denied: the credentials in use, if any, lack {lacking}; set others: {_KEYS[scheme]}"
        case "region":
            here = region_of() or "us-east-1"
            return f"the bucket {address.bucket} is in another region than {here}; set AWS_REGION to its own"
        case "clock":
            return "the clock of this machine is wrong, so the server takes no request; set it"
        case "busy":
            return f"{server} is overloaded or out of order; wait, then {_AGAIN}"
        case "connection":
            found = re.search(r"curlCode: \d+, ([^;\[]+)", text) or re.search(r"(Could[^;\[]+)", text)
            why = found[1].strip() if found else "no answer"
            variable = _SERVER_VARIABLES[scheme]
            return f"no connection to {server}, or it broke ({why}); check the network and {variable}, then {_AGAIN}"
        case "refused":
            return f"{server} refuses the request; look at the name of the bucket {address.bucket} and at AWS_REGION"
    return text
