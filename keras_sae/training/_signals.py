import signal
import threading


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM stopped training after a step. The state is saved."""

    def __init__(self, signum):
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class Interrupts:
    """A context in which the first Ctrl-C or SIGTERM is only recorded. The second has its usual effect.

    An exception from a signal handler can occur anywhere, also where Python only prints it and continues. So training checks
    `received` after each step instead.

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
            # Python cannot reinstall a handler that a library installed in C.
            usual = signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL
            signal.signal(signum, usual if handler is None else handler)
        self._before = {}
