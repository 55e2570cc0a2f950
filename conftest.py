"""Keep pytest out of `test/`, which holds programs that answer test sets; let Ctrl-C reach the programs of tests."""

import signal

collect_ignore_glob = ["test/*"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a background job, whose programs would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
