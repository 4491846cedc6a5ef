"""python -m service: the command line, in service/cli/."""

import os
import signal
import sys

if set(sys.argv[1:]) <= {"serve", "--reload"}:
    # Until the imports are done there is nothing to stop in order, and process 1 of a container ignores signals that
    # have no handler.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: os._exit(0))

from service.cli.main import main

main(sys.argv[1:])
