"""Ports and resolvers of a container with a network of its own."""

import socket

import pytest

from sampan.engines.native.network import (
    NetworkError,
    assign_ports,
    describe_ports,
    resolver_text,
)
from sampan.model.container import PublishedPort


def test_a_port_left_out_becomes_a_free_one() -> None:
    assigned = assign_ports((PublishedPort("127.0.0.1", 0, 80, "tcp"),))
    assert assigned[0].host_port > 0
    assert assigned[0].container_port == 80


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_port_in_use_is_refused(kind: str) -> None:
    type_ = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, type_) as holder:
        holder.bind(("127.0.0.1", 0))
        if kind == "tcp":
            holder.listen()
        number = holder.getsockname()[1]
        with pytest.raises(NetworkError) as caught:
            assign_ports((PublishedPort("127.0.0.1", number, 80, kind),))
    assert str(number) in caught.value.cause
    assert "another host port" in caught.value.remedy


def test_an_address_that_is_not_this_hosts_is_refused() -> None:
    with pytest.raises(NetworkError, match=r"203\.0\.113\.77"):
        assign_ports((PublishedPort("203.0.113.77", 8080, 80, "tcp"),))


def test_ports_are_shown_as_docker_shows_them() -> None:
    ports = (PublishedPort("", 8080, 80, "tcp"), PublishedPort("::1", 5, 6, "udp"))
    assert describe_ports(ports) == ("0.0.0.0:8080->80/tcp", "[::1]:5->6/udp")


def test_a_name_server_on_the_hosts_loopback_is_replaced() -> None:
    text = "search example.org\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.1\n"
    assert resolver_text(text) == (
        "search example.org\nnameserver 169.254.1.1\nnameserver 192.0.2.1\n"
    )


def test_others_stay() -> None:
    assert resolver_text("nameserver 192.0.2.1\n") == "nameserver 192.0.2.1\n"
