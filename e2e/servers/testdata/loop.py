"""The oldest kind of worker: accept, answer, close, again."""
import os
import select
import signal
import socket
import sys
import time

# The number of the socket, or the variable that has it.
listener = socket.socket(fileno=int(os.environ.get(sys.argv[1], sys.argv[1])))
nothing = os.open(os.devnull, os.O_RDONLY)


def stop(signum, frame):
    # An accept that waits is tried again after this (PEP 475), and finds no
    # socket. One that has just returned is not disturbed: an exception raised
    # here would lose the connection that it brought.
    os.dup2(nothing, listener.fileno())


def accept():
    """The next connection, or None after a stop."""
    while True:
        try:
            return listener.accept()[0]
        except BlockingIOError:
            # Somebody else has set O_NONBLOCK on the socket, which all of its
            # holders share: to try again at once would be to spin.
            select.select([listener], [], [])
        except ConnectionAbortedError:
            pass
        except OSError:
            return None


def answer(connection):
    with connection:
        request = b""
        while b"\r\n\r\n" not in request:
            part = connection.recv(4096)
            if not part:
                return
            request += part
        _, asked, ms = request.split(b" ")[1].partition(b"ms=")
        if asked:
            time.sleep(int(ms) / 1000)
        connection.sendall((
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n"
            f"X-Version: {os.environ['VERSION']}\r\nX-Pid: {os.getpid()}\r\n\r\nloop\n"
        ).encode())


signal.signal(signal.SIGTERM, stop)
while (connection := accept()) is not None:
    answer(connection)
