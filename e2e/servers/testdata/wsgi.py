import os
import time


def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.05)
    body = b"gunicorn\n"
    start_response("200 OK", [
        ("X-Version", os.environ["VERSION"]),
        ("X-Pid", str(os.getpid())),
        ("Content-Length", str(len(body))),
    ])
    return [body]
