import os
import time
from urllib.parse import parse_qs


def app(environ, start_response):
    time.sleep(int(parse_qs(environ["QUERY_STRING"]).get("ms", ["0"])[0]) / 1000)
    body = b"python\n"
    start_response("200 OK", [
        ("X-Version", os.environ["VERSION"]),
        ("X-Pid", str(os.getpid())),
        ("Content-Length", str(len(body))),
    ])
    return [body]
