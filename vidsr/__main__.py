"""The command `vidsr`, and `python -m vidsr`."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is open while libraries load: the end needs no traceback

from vidsr.cli import main

if __name__ == "__main__":
    main()
