"""The driver of the machine the tests run on: every file of it is explained."""

import pytest

pytestmark = pytest.mark.gpu


def test_no_file_of_this_hosts_driver_is_left_unexplained(sampan):
    done = sampan("driver", "--unknown", check=False)
    assert (done.stdout, done.returncode) == ("", 0)
