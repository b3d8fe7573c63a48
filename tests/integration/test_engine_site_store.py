"""A container straight from the site's store: nothing is copied, nothing of the site is written."""

from collections.abc import Iterator

import pytest

from support.engine_host import USERS, EngineHost, engine_host

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def host() -> Iterator[EngineHost]:
    with engine_host() as made:
        yield made


@pytest.mark.parametrize("user", USERS)
def test_a_container_runs_from_the_sites_file(host: EngineHost, user: str) -> None:
    own = host.home(user) / "own-store"
    variables = {"SAMPAN_STORE": str(own), "SAMPAN_SITE_STORES": str(host.store)}
    before = sorted(host.store.rglob("*"))
    done = host.run("run", "--rm", "testimage", "echo", "hello", user=user, variables=variables)
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
    assert not own.exists()
    assert sorted(host.store.rglob("*")) == before
    listed = host.run("images", "--format", "json", user=user, variables=variables)
    assert f'"Store": "{host.store}"' in listed.stdout
    removed = host.run("rmi", "-f", "testimage", user=user, variables=variables)
    assert removed.returncode == 1
    assert "error[image-of-site]" in removed.stderr


def test_the_owner_of_the_site_sees_that_a_container_uses_its_image(host: EngineHost) -> None:
    variables = {
        "SAMPAN_STORE": str(host.home("ordinary") / "x"),
        "SAMPAN_SITE_STORES": str(host.store),
    }
    started = host.run(
        "run",
        "-d",
        "--name",
        "box",
        "testimage",
        "sleep",
        "1000",
        user="ordinary",
        variables=variables,
    )
    assert started.returncode == 0, started.stderr
    try:
        refused = host.run("rmi", "testimage")
        assert "a container of another user uses image testimage" in refused.stderr
    finally:
        host.run("rm", "-f", "box", user="ordinary", variables=variables)
