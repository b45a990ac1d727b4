"""Who may read a place that a cache is pushed to: AIHub's terms allow its data to approved people only."""

import json
from enum import Enum
from typing import Any

from signprep.cache_builder.remote.storage import RemoteFolder

_EVERYBODY = (
    "http://acs.amazonaws.com/groups/global/AllUsers",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
)
"""Groups in a bucket's access list that anybody belongs to. Source: Amazon S3 user guide, access control lists."""


class Readers(Enum):
    """Who may read there, in words for people."""

    KNOWN = "people with an account there may read it"
    UNKNOWN = "who may read it cannot be seen from here"
    EVERYBODY = "anybody may read it"


def readers_of(remote: RemoteFolder) -> Readers:
    """Return who may read a place, as far as its driver can tell."""
    if remote.protocol in ("s3", "s3a"):
        return _readers_of_bucket(remote)
    if remote.protocol in ("sftp", "ssh", "smb", "memory"):
        return Readers.KNOWN
    return Readers.UNKNOWN


def _readers_of_bucket(remote: RemoteFolder) -> Readers:
    fs, root = remote.driver()
    bucket = root.split("/", 1)[0]
    try:
        grants = fs.call_s3("get_bucket_acl", Bucket=bucket).get("Grants", [])
        if any(grant.get("Grantee", {}).get("URI") in _EVERYBODY for grant in grants):
            return Readers.EVERYBODY
    except Exception:  # the key may not look, or the server does not know the question
        return Readers.UNKNOWN
    try:
        policy = json.loads(fs.call_s3("get_bucket_policy", Bucket=bucket)["Policy"])
    except FileNotFoundError:
        return Readers.KNOWN  # it has none
    except Exception as error:
        return Readers.KNOWN if "NoSuchBucketPolicy" in repr(error) + repr(error.__cause__) else Readers.UNKNOWN
    return Readers.EVERYBODY if _is_for_everybody(policy) else Readers.KNOWN


def _is_for_everybody(policy: Any) -> bool:
    """Whether a bucket's policy allows something to everybody without a condition.

    >>> _is_for_everybody({"Statement": [{"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": "s3:GetObject"}]})
    True
    """
    statements = policy.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        principal = statement.get("Principal")
        named = principal.get("AWS", []) if isinstance(principal, dict) else principal
        if statement.get("Effect") == "Allow" and not statement.get("Condition") and "*" in (named or ()):
            return True
    return False
