"""Holds for every test."""

import signal

from hypothesis import settings

# Started in the background of a script or by nohup, we would pass ignored signals on to the programs
# under test, which then could not be interrupted.
for _number, _usual in (
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

# Whether an example takes 200 ms says how busy the machine is, nothing of the code.
settings.register_profile("sampan", deadline=None)
settings.load_profile("sampan")
