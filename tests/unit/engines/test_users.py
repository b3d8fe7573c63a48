"""USER and -u, as docker reads them."""

import pytest

from sampan.engines.native.users import User, UserNotFoundError, resolve_user

PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n77:x:5:5::/five:\nbad line\nodd:x:minus:1::/:\n"  # fmt: skip
GROUP = "root:x:0:\napp:x:1001:\nvideo:x:44:app,other\nempty:x:45:\nextra:x:46:other,app\n"


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", User(0, 0, (), "/root")),
        ("app", User(1000, 1001, (44, 46), "/home/app")),
        ("1000", User(1000, 1001, (44, 46), "/home/app")),
        ("77", User(5, 5, (), "/five")),
        ("4321", User(4321, 0, (), "/")),
        ("app:video", User(1000, 44, (), "/home/app")),
        ("app:99", User(1000, 99, (), "/home/app")),
        ("12:34", User(12, 34, (), "/")),
        (":video", User(0, 44, (), "/root")),
    ],
)
def test_a_user_is_found_by_name_then_by_number(text: str, user: User) -> None:
    assert resolve_user(text, PASSWD, GROUP) == user


@pytest.mark.parametrize("text", ["ghost", "app:ghost", "-1", "99999999999", "odd", "٣"])
def test_what_is_not_there_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(UserNotFoundError) as caught:
        resolve_user(text, PASSWD, GROUP)
    assert "root, app" in caught.value.evidence


def test_an_image_without_passwd_takes_numbers_only() -> None:
    assert resolve_user("0:0", "", "") == User(0, 0, (), "/")
    assert resolve_user("", "", "") == User(0, 0, (), "/")
    with pytest.raises(UserNotFoundError, match="no user 'root'"):
        resolve_user("root", "", "")


@pytest.mark.parametrize("number", ["4294967295", "4294967296", "9" * 5000, "²", "-1"])
def test_numbers_of_a_hostile_image_that_are_no_ids_name_nobody(number: str) -> None:
    passwd = f"root:x:0:0::/root:/bin/sh\nodd:x:{number}:1::/:\nother:x:7:{number}::/:\n"
    group = f"root:x:0:\nodd:x:{number}:root\n"
    assert resolve_user("", passwd, group) == User(0, 0, (), "/root")
    for text in ("odd", "other", "0:odd", number, f"0:{number}"):
        with pytest.raises(UserNotFoundError):
            resolve_user(text, passwd, group)
