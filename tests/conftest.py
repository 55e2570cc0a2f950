"""What holds for every test: no lock that a killed child could keep, and no test that hangs for ever."""

import threading

from tqdm import tqdm

# tqdm's own lock is a semaphore that forked children share with their parent: a child that is killed while it draws
# its bar keeps it, and every later bar of the whole test process waits for ever. A lock of threads is not shared.
tqdm.set_lock(threading.RLock())
tqdm.monitor_interval = 0  # its thread could hold that lock at the moment of a fork
