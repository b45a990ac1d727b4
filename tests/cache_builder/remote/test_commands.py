"""The commands as people type them: what they say, and what they say when it goes wrong."""

from pathlib import Path
from typing import Any

import fsspec
import pytest
from click.testing import CliRunner, Result

from signprep.cache_builder import open_cache
from signprep.cache_builder.options import location_of, shown, without_secrets
from signprep.cache_builder.remote.push import Visibility, visibility_of
from signprep.cache_builder.remote.storage import RemoteFolder
from signprep.pipeline.cli import cli
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.installation import install_extras
from tests.cache_builder.conftest import BUCKET
from tests.cache_builder.made_caches import make_cache
from tests.cache_builder.servers import free_port, make_bucket


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def failure(*arguments: object) -> str:
    """Return the one line that a command fails with."""
    result = run(*arguments)
    assert result.exit_code == 1 and isinstance(result.exception, SignprepError), result
    return str(result.exception)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return make_cache(tmp_path / "내 mine.zarr", range(30)).path


def test_push_and_pull_say_what_moved(mine: Path, s3_url: str, tmp_path: Path) -> None:
    assert "11 of 11 objects" in run("push", mine, s3_url, "--dry-run").output
    result = run("push", mine, s3_url, "--yes")
    assert result.exit_code == 0 and "11 of 11 objects" in result.output and " sent\nnext: " in result.output
    assert "0 of 11 objects, 0.0 kB of" in run("push", mine, s3_url, "--yes").output
    result = run("pull", s3_url, tmp_path / "theirs.zarr")
    assert "11 of 11 objects" in result.output and f"fetched from {s3_url}" in result.output
    result = run("pull", s3_url, tmp_path / "val.zarr", "--split", "val", "--signer", "REAL04")
    assert result.exit_code == 0 and len(open_cache(tmp_path / "val.zarr")) == 7
    words = tmp_path / "words.txt"
    words.write_text("위\n", encoding="utf-8")
    run("pull", mine, tmp_path / "words.zarr", "--gloss-file", words)
    assert open_cache(tmp_path / "words.zarr").vocabulary.glosses == ("위",)


def test_verify_reads_every_object_behind_a_url(mine: Path, s3_url: str) -> None:
    run("push", mine, s3_url, "--yes")
    result = run("verify", s3_url)
    assert result.exit_code == 0 and "11 files are as they were written" in result.output
    remote = RemoteFolder(s3_url)
    victim = next(iter(remote.sizes("objects")))
    remote.upload(b"rotten", f"objects/{victim}")
    result = run("verify", s3_url)
    assert result.exit_code == 1 and "is not what its manifest says" in result.output


def test_a_wrong_key_is_one_line(mine: Path, tmp_path: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    fsspec.filesystem("s3").clear_instance_cache()
    assert "no credentials" in failure("push", mine, s3_url, "--yes")


def test_a_missing_bucket_and_a_silent_server_are_one_line(
    mine: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "bucket does not exist" in failure("push", mine, "s3://no-such-bucket/a.zarr", "--yes")
    assert "no finished cache" in failure("pull", "s3://no-such-bucket/a.zarr", mine.parent / "b.zarr")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    fsspec.filesystem("s3").clear_instance_cache()
    message = failure("pull", s3_url, mine.parent / "b.zarr")
    assert "nobody answers" in message and "tried" in message


def test_sftp_knows_its_servers_and_says_what_is_wrong(mine: Path, sftp_url: str, sftp_root: tuple[str, Path]) -> None:
    known_hosts = sftp_root[1] / ".ssh" / "known_hosts"
    good = known_hosts.read_text()
    try:
        known_hosts.write_text("")
        assert "server's key is not known here" in failure("push", mine, sftp_url)
    finally:
        known_hosts.write_text(good)
    key = sftp_root[1] / ".ssh" / "id_ed25519"
    key.rename(key.with_name("hidden"))
    try:
        assert "access is denied" in failure("push", mine, sftp_url)
    finally:
        key.with_name("hidden").rename(key)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:1/a.zarr", "web server"),
        ("quatsch://team/a.zarr", "known kind"),
    ],
)
def test_destinations_that_are_none(mine: Path, url: str, message: str) -> None:
    assert message in failure("push", mine, url)


def test_a_cache_that_is_none_is_said_so(tmp_path: Path, s3_url: str) -> None:
    assert "there is no cache at this path" in failure("push", tmp_path / "nothing.zarr", s3_url)
    assert "there is no cache at this path" in failure("pull", tmp_path / "nothing.zarr", tmp_path / "b.zarr")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    make_cache(tmp_path / "a.zarr", range(8))
    assert "no signprep cache" in failure("pull", tmp_path / "a.zarr", tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert "the cache itself" in failure("pull", tmp_path / "a.zarr", tmp_path / "a.zarr")


def test_a_driver_that_is_not_installed_is_one_line(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: Any, **options: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    assert install_extras("s3") in failure("push", mine, "s3://team/a.zarr")
    assert "install the fsspec driver" in failure("push", mine, "oss://team/a.zarr")


def test_a_bucket_that_anybody_may_read_is_asked_about(mine: Path, s3_url: str, s3_endpoint: str) -> None:
    make_bucket(s3_endpoint, "open-by-list")
    make_bucket(s3_endpoint, "open-by-policy")
    fs = fsspec.filesystem("s3")
    fs.call_s3("put_bucket_acl", Bucket="open-by-list", ACL="public-read")
    policy = (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",'
        '"Resource":"arn:aws:s3:::open-by-policy/*"}]}'
    )
    fs.call_s3("put_bucket_policy", Bucket="open-by-policy", Policy=policy)
    assert visibility_of(RemoteFolder(f"s3://{BUCKET}/a.zarr")) is Visibility.KNOWN
    assert visibility_of(RemoteFolder("s3://open-by-list/a.zarr")) is Visibility.EVERYBODY
    assert visibility_of(RemoteFolder("s3://open-by-policy/a.zarr")) is Visibility.EVERYBODY
    message = failure("push", mine, "s3://open-by-list/a.zarr")
    assert "anybody may read it" in message and "AIHub" in message and "--yes" in message
    assert RemoteFolder("s3://open-by-list/a.zarr").sizes("objects") == {}
    assert run("push", mine, "s3://open-by-list/a.zarr", "--yes").exit_code == 0


def test_no_secret_of_a_url_is_shown() -> None:
    assert shown(location_of("sftp://kim:geheim@host/a.zarr")) == "sftp://kim@host/a.zarr"
    text = without_secrets("cannot GET https://host/b?X-Amz-Signature=1&x=2 (sftp://a:b@c/d)")
    assert text == "cannot GET https://host/b (sftp://a@c/d)"


@pytest.mark.parametrize("place", ["s3://", "nothing:///"])
def test_a_url_that_names_no_place_is_told(place: str, tmp_path: Path) -> None:
    for command in [("pull", place, tmp_path / "a.zarr"), ("verify", place), ("train", "--cache", place)]:
        message = failure(*command)
        assert place in message and "names no place" in message and "://team/name.zarr" in message
