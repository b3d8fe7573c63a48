"""A store that several users have containers of: each knows only their own."""

from collections.abc import Iterator

import pytest

from support.engine_host import USERS, EngineHost, engine_host

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def host() -> Iterator[EngineHost]:
    with engine_host() as made:
        yield made


@pytest.mark.parametrize("user", USERS)
def test_an_image_is_kept_while_a_container_of_another_user_runs(
    host: EngineHost, user: str
) -> None:
    def owner(*words: str, code: int = 0) -> str:
        """The owner of the store, who sees none of that user's containers."""
        done = host.run(*words, variables={"SAMPAN_RUNTIME": str(host.base / "state-of-owner")})
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    tree = str(host.base / "rootfs")
    identity = owner("import", "-q", tree, "used", "--change", f"ENV FIRST={user}").strip()
    started = host.run("run", "-d", "--name", "box", "used", "sleep", "1000", user=user)
    assert started.returncode == 0, started.stderr
    try:
        assert "a container of another user uses image used" in owner("rmi", "used", code=1)
        owner("import", "-q", tree, "used", "--change", f"ENV SECOND={user}")
        owner("prune")
        assert owner("inspect", "-f", "{{.Id}}", identity) == f"{identity}\n"
    finally:
        host.run("rm", "-f", "box", user=user)
    owner("prune")
    owner("inspect", identity, code=1)
