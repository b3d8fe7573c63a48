"""registries.conf, hosts.toml, daemon.json: which way leads to an image, read without a network."""

import json
from pathlib import Path

import pytest

from sampan.registry.configuration import RegistryConfigurationError
from sampan.registry.endpoints import Endpoint, Route
from sampan.registry.routes import BlockedError, find_route
from sampan.registry.settings import Settings

CUDA = "nvcr.io/nvidia/cuda:12"
DIGEST = "@sha256:" + "0" * 64


class Machine:
    """A root directory and a home with files in them."""

    def __init__(self, base: Path) -> None:
        self.root = base / "root"
        self.home = base / "home"
        self.environment = {"HOME": str(self.home)}

    def write(self, path: str, text: str) -> Path:
        place = self.home / path[2:] if path.startswith("~/") else self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def route(self, name: str = CUDA, **settings: object) -> Route:
        chosen = Settings(configuration_root=str(self.root))._replace(**settings)
        return find_route(name, self.environment, chosen)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def address(endpoint: Endpoint | None, repository: str) -> str:
    assert endpoint is not None
    return f"{endpoint.host}{endpoint.api}/{endpoint.repository(repository)}"


def test_without_configuration_a_registry_is_at_its_own_name(machine: Machine) -> None:
    assert machine.route() == Route(Endpoint("nvcr.io"))
    assert address(machine.route("docker.io/library/a").place, "library/a") == (
        "registry-1.docker.io/v2/library/a"
    )


@pytest.mark.parametrize(
    ("name", "place", "mirror"),
    [
        ("nvcr.io/nvidia/cuda:12", "nvcr.io/v2/nvidia/cuda", "m.example:5000/v2/ngc/nvidia/cuda"),
        ("nvcr.io/acme/a/b:1", "in.example/v2/store/a/b", "near.example/v2/a/b"),
        ("quay.example/x/y", "flat.example/v2/x/y", ""),
        ("deep.sub.wild.example/x/y", "deep.sub.wild.example/v2/x/y", "wild-mirror.example/v2/x/y"),
        ("wild.example/x", "wild.example/v2/x", ""),
        ("nvcr.io:5000/nvidia/cuda", "nvcr.io:5000/v2/nvidia/cuda", ""),
    ],
)
def test_the_longest_prefix_of_registries_conf_decides(
    machine: Machine, name: str, place: str, mirror: str
) -> None:
    machine.write(
        "etc/containers/registries.conf",
        """
        unqualified-search-registries = ["quay.example"]
        [[registry]]
        location = "nvcr.io"
        [[registry.mirror]]
        location = "m.example:5000/ngc"
        [[registry]]
        prefix = "nvcr.io/acme"
        location = "in.example/store"
        [[registry.mirror]]
        location = "near.example"
        [[registry]]
        prefix = "quay.example"
        location = "flat.example"
        [[registry]]
        prefix = "*.wild.example"
        [[registry.mirror]]
        location = "wild-mirror.example"
        """,
    )
    repository = name.partition("/")[2].partition(":")[0]
    route = machine.route(name)
    assert address(route.place, repository) == place
    assert [address(one, repository) for one in route.mirrors] == ([mirror] if mirror else [])


def test_mirrors_by_digest_alone_are_not_asked_for_tags(machine: Machine) -> None:
    machine.write(
        "etc/containers/registries.conf",
        """
        [[registry]]
        location = "nvcr.io"
        [[registry.mirror]]
        location = "all.example"
        [[registry.mirror]]
        location = "digests.example"
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "tags.example"
        pull-from-mirror = "tag-only"
        [[registry]]
        location = "strict.example"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "all.example"
        """,
    )
    assert [(one.host, one.has_tags) for one in machine.route().mirrors] == [
        ("all.example", True), ("digests.example", False), ("tags.example", True),
    ]  # fmt: skip
    assert [one.host for one in machine.route(CUDA + DIGEST).mirrors] == [
        "all.example", "digests.example",
    ]  # fmt: skip
    assert [one.has_tags for one in machine.route("strict.example/a:1").mirrors] == [False]


def test_a_users_file_stands_for_the_machines_and_drop_ins_are_added(machine: Machine) -> None:
    machine.write(
        "etc/containers/registries.conf", '[[registry]]\nlocation = "a.example"\nblocked = true'
    )
    assert machine.route("b.example/x").source == ""
    with pytest.raises(BlockedError):
        machine.route("a.example/x")
    machine.write("~/.config/containers/registries.conf", "")
    assert machine.route("a.example/x").source == ""
    machine.write(
        "etc/containers/registries.conf.d/10.conf",
        '[[registry]]\nprefix = "a.example"\nlocation = "one.example"',
    )
    machine.write(
        "~/.config/containers/registries.conf.d/10.conf",
        '[[registry]]\nprefix = "a.example"\nlocation = "two.example"',
    )
    assert address(machine.route("a.example/x").place, "x") == "two.example/v2/x"  # fmt: skip


@pytest.mark.parametrize("name", [CUDA, "nvcr.io/nvidia/cuda:12" + DIGEST, "nvcr.io/nvidia/cuda"])
def test_what_is_blocked_is_refused_with_the_file_that_says_so(machine: Machine, name: str) -> None:
    path = machine.write(
        "etc/containers/registries.conf",
        '[[registry]]\nlocation = "nvcr.io/nvidia"\nblocked = true',
    )
    with pytest.raises(BlockedError) as raised:
        machine.route(name)
    assert raised.value.evidence == f"{path}: nvcr.io/nvidia"
    assert machine.route("nvcr.io/nvidiax/cuda").place == Endpoint("nvcr.io")


def test_version_1_of_registries_conf_still_blocks_and_opens(machine: Machine) -> None:
    machine.write(
        "etc/containers/registries.conf",
        '[registries.insecure]\nregistries = ["in.example:5000"]\n[registries.block]\nregistries = ["bad.example"]',
    )
    place = machine.route("in.example:5000/a").place
    assert place is not None
    assert place.is_insecure
    with pytest.raises(BlockedError):
        machine.route("bad.example/a")


HOSTS = """
server = "https://nvcr.io"
[host."https://cache.example:8443"]
capabilities = ["pull", "resolve"]
ca = "ca.pem"
client = [["c.cert", "c.key"]]
dial_timeout = "500ms"
[host."https://cache.example:8443".header]
x-key = "a-secret-of-the-site"
[host."http://plain.example/v2/proxy/ngc"]
capabilities = ["pull"]
override_path = true
[host."https://push-only.example"]
capabilities = ["push"]
[host."https://loose.example/sub"]
skip_verify = true
"""


def test_hosts_toml_gives_mirrors_in_its_order_with_their_own_trust(machine: Machine) -> None:
    path = machine.write("etc/containerd/certs.d/nvcr.io/hosts.toml", HOSTS)
    route = machine.route()
    assert [address(one, "a/b") for one in route.mirrors] == [
        "cache.example:8443/v2/a/b", "plain.example/v2/proxy/ngc/a/b", "loose.example/sub/v2/a/b",
    ]  # fmt: skip
    cache, plain, loose = route.mirrors
    assert cache.trust.authorities == (str(path.parent / "ca.pem"),)
    assert cache.trust.certificates == ((str(path.parent / "c.cert"), str(path.parent / "c.key")),)
    assert (cache.connect_timeout_s, cache.query) == (0.5, "ns=nvcr.io")
    assert "a-secret-of-the-site" not in str(route)
    assert (plain.scheme, plain.is_insecure, plain.has_tags) == ("http", True, False)
    assert (loose.trust.verify, loose.is_insecure) == (False, False)
    assert route.place is not None
    assert route.place.trust.verify


@pytest.mark.parametrize("directory", ["r.example_5000_", "r.example:5000", "_default"])
def test_the_directory_of_a_port_is_found_in_containerds_spellings(
    machine: Machine, directory: str
) -> None:
    machine.write(
        f"etc/containerd/certs.d/{directory}/hosts.toml", '[host."https://cache.example"]'
    )
    assert [one.host for one in machine.route("r.example:5000/a").mirrors] == ["cache.example"]


def test_daemon_json_gives_mirrors_of_docker_io_and_insecure_registries(machine: Machine) -> None:
    machine.write(
        "etc/docker/daemon.json",
        json.dumps(
            {
                "registry-mirrors": ["https://hub-cache.example", "http://10.9.8.7:5000"],
                "insecure-registries": ["10.9.0.0/16", "in.example:5000"],
            }
        ),
    )
    route = machine.route("docker.io/library/debian:12")
    assert [(one.host, one.is_insecure) for one in route.mirrors] == [
        ("hub-cache.example", False), ("10.9.8.7:5000", True),
    ]  # fmt: skip
    assert machine.route().mirrors == ()
    insecure = {
        name: machine.route(f"{name}/a").place
        for name in ("in.example:5000", "10.9.1.1", "10.8.1.1")
    }
    assert {name: place.is_insecure for name, place in insecure.items() if place} == {
        "in.example:5000": True, "10.9.1.1": True, "10.8.1.1": False,
    }  # fmt: skip


def test_the_first_file_that_speaks_of_a_registry_decides_alone(machine: Machine) -> None:
    machine.write("etc/containerd/certs.d/_default/hosts.toml", '[host."https://last.example"]')
    assert [one.host for one in machine.route().mirrors] == ["last.example"]
    machine.write("etc/containerd/certs.d/nvcr.io/hosts.toml", HOSTS)
    assert machine.route().mirrors[0].host == "cache.example:8443"
    conf = machine.write("etc/containers/registries.conf", '[[registry]]\nlocation = "nvcr.io"')
    assert machine.route() == Route(Endpoint("nvcr.io", source=str(conf)), (), str(conf))
    own = machine.write("~/own.conf", '[[registry]]\nprefix = "nvcr.io"\nlocation = "own.example"')
    machine.environment["SAMPAN_REGISTRIES_CONF"] = str(own)
    assert address(machine.route().place, "a") == "own.example/v2/a"
    assert machine.route("other.example/a").source == ""


def test_what_the_user_says_of_tls_goes_before_what_files_say(machine: Machine) -> None:
    machine.write(
        "etc/containers/registries.conf",
        '[[registry]]\nlocation = "in.example"\ninsecure = true\n[[registry.mirror]]\nlocation = "m.example"',
    )
    strict = machine.route("in.example/a", verify=True)
    assert strict.place is not None
    assert (strict.place.is_insecure, strict.place.trust.verify) == (False, True)
    loose = machine.route("in.example/a", verify=False)
    assert [(one.is_insecure, one.trust.verify) for one in loose.mirrors] == [(True, False)]
    given = machine.route("in.example/a", certificate_directory="/certs").place
    assert given is not None
    assert given.trust.directories == ("/certs",)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("etc/containers/registries.conf", "[[registry]\n"),
        ("etc/containers/registries.conf", 'registry = "nvcr.io"'),
        ("etc/containers/registries.conf", "[[registry]]\ninsecure = true"),
        ("etc/containers/registries.conf", '[[registry]]\nprefix = "a.*.b"'),
        ("etc/containers/registries.conf", '[[registry]]\nlocation = "https://nvcr.io"'),
        ("etc/containers/registries.conf", '[[registry]]\nlocation = "nvcr.io"\nblocked = "yes"'),
        ("etc/containers/registries.conf", '[[registry]]\nlocation = "nvcr.io"\n[[registry.mirror]]\ninsecure = true'),
        ("etc/containers/registries.conf", '[[registry]]\nlocation = "nvcr.io"\n[[registry.mirror]]\nlocation = "m"\npull-from-mirror = "some"'),
        ("etc/containers/registries.conf.d/1.conf", "\x00"),
        ("etc/containers/registries.conf", "#" * (1 << 20) + "##"),
        ("etc/containerd/certs.d/nvcr.io/hosts.toml", '[host."ftp://m.example"]'),
        ("etc/containerd/certs.d/nvcr.io/hosts.toml", '[host."https://u:p@m.example"]'),
        ("etc/containerd/certs.d/nvcr.io/hosts.toml", 'server = "https://"'),
        ("etc/containerd/certs.d/nvcr.io/hosts.toml", 'dial_timeout = "soon"'),
        ("etc/containerd/certs.d/nvcr.io/hosts.toml", "client = [[1]]"),
        ("etc/containerd/certs.d/nvcr.io/hosts.toml", "host = 5"),
        ("etc/docker/daemon.json", "{"),
        ("etc/docker/daemon.json", "[]"),
        ("etc/docker/daemon.json", '{"insecure-registries": 5}'),
    ],
)  # fmt: skip
def test_a_damaged_file_is_a_refusal_that_names_it(machine: Machine, path: str, text: str) -> None:
    place = machine.write(path, text)
    with pytest.raises(RegistryConfigurationError) as raised:
        machine.route()
    assert str(place) in raised.value.cause


def test_a_file_that_was_named_and_is_not_there_is_a_refusal(machine: Machine) -> None:
    for name in ("SAMPAN_REGISTRIES_CONF", "CONTAINERS_REGISTRIES_CONF"):
        machine.environment = {"HOME": str(machine.home), name: "/none/such.conf"}
        with pytest.raises(RegistryConfigurationError, match="there is no /none/such"):
            machine.route()
    machine.environment = {"HOME": str(machine.home), "SAMPAN_REGISTRIES_CONF": "/dev/null"}
    assert machine.route() == Route(Endpoint("nvcr.io"))
