"""python -m service: the command line, in service/cli/."""

import os
import signal
import sys

if set(sys.argv[1:]) <= {"serve", "--reload"}:
    # During the imports nothing has to be stopped in order. Process 1 of a container ignores signals without a handler.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: os._exit(0))

from service.cli.main import main

main(sys.argv[1:])
