"""For all tests: `test/` holds programs, no tests; Ctrl-C reaches the programs of tests; no lock outlives a kill."""

import signal
import threading

from tqdm import tqdm

collect_ignore_glob = ["test/*"]
pytest_plugins = ["clip_folder", "tiny_checkpoint"]  # fixtures of more than one test file, in tests/helpers

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a background job, whose programs would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

# tqdm's own lock is a semaphore that forked children share with their parent: a child that is killed while it draws
# its bar keeps it, and every later bar of the whole test process waits for ever. A lock of threads is not shared.
tqdm.set_lock(threading.RLock())
tqdm.monitor_interval = 0  # its thread could hold that lock at the moment of a fork
