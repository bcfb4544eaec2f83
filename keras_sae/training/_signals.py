import signal
import threading


class Stopped(KeyboardInterrupt):
    """Training was asked to stop, by Ctrl-C or SIGTERM, and did so after a step, with its state saved."""

    def __init__(self, signum):
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class Interrupts:
    """Within it, the first Ctrl-C or SIGTERM is noted rather than obeyed; the second acts as it would have.

    An exception raised by a signal can strike anywhere, even where Python can only print it and go on. So training looks at
    `received` after each step.

    Attributes:
        received: Number of the signal, or None.
    """

    def __init__(self):
        self.received = None
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(signum) is not signal.SIG_IGN:
                    self._before[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *exception):
        self._restore()

    def _note(self, signum, frame):
        self.received = signum
        self._restore()

    def _restore(self):
        for signum, handler in self._before.items():
            # A handler that is not of Python, as libraries install them, cannot be put back.
            usual = signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL
            signal.signal(signum, usual if handler is None else handler)
        self._before = {}
