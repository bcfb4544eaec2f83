"""Waits in Python until all workers are there. TensorFlow waits without a word, and ignores Ctrl-C and SIGTERM meanwhile."""

import contextlib
import errno
import socket
import sys
import time

_SAY_AFTER = 10.0


def meet(cluster, task, say_after=_SAY_AFTER):
    """Returns when every worker of `TF_CONFIG` listens at its address. Says after a while for which ones it waits.

    Args:
        cluster, task: The parts of `TF_CONFIG`, checked.
        say_after: Float, seconds until it says for whom it waits.

    Raises:
        OSError: The port of this worker is in use.
    """
    own = cluster[task["type"]][task["index"]]
    missing = [address for kind in ("chief", "worker") for address in cluster.get(kind, []) if address != own]
    with _listening(own):
        started, said = time.monotonic(), False
        while missing := [address for address in missing if not _is_there(address)]:
            if not said and time.monotonic() - started >= say_after:
                said = True
                _say(f"Waiting for the workers at {', '.join(missing)} of TF_CONFIG ...")
            time.sleep(0.2)
        if said:
            _say("All workers are there.")


def _say(sentence):
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()


@contextlib.contextmanager
def _listening(address):
    """Listens at the port, as TensorFlow will do later."""
    port = _host_and_port(address)[1]
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("", port))
            server.listen(128)
        except (OSError, OverflowError) as error:
            if getattr(error, "errno", None) == errno.EADDRINUSE:
                raise OSError(
                    f"Another process on this machine uses the port {port}, which TF_CONFIG gives to this worker ({address}). "
                    "End it, perhaps a worker that was left over, or choose another port on all machines."
                ) from error
            raise OSError(f"This worker cannot listen at {address}, its address in TF_CONFIG: {error}.") from error
        yield


def _is_there(address):
    try:
        socket.create_connection(_host_and_port(address), timeout=2).close()
    except OSError:  # also a host name that is not known yet
        return False
    return True


def _host_and_port(address):
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
