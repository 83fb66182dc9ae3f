"""Start a command that cannot outlive its parent: ``python tether.py SIGNAL PARENT UID COMMAND…``.

Runs before the command, in its process, as a plain script with the standard library only. The kernel sends SIGNAL when
the thread that started the process ends (prctl(2), PR_SET_PDEATHSIG). A preexec_fn would do the same, but may deadlock
in a parent with threads. UID ``-`` keeps the user; a number changes to that user and group first, because the kernel
clears the signal when the user changes.
"""

import contextlib
import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Become the command, or exit with 127 and a sentence when that is impossible."""
    signal_number, parent, uid, *command = arguments
    if uid != "-":
        os.setgroups([])
        os.setgid(int(uid))
        os.setuid(int(uid))
    with contextlib.suppress(OSError, AttributeError):  # only Linux has it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal_number))
    if os.getppid() != int(parent):
        sys.exit("the parent ended before the command could start")
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)


if __name__ == "__main__":
    main(sys.argv[1:])
