import os


def app(environ, start_response):
    body = b"gunicorn\n"
    start_response("200 OK", [
        ("X-Version", os.environ["VERSION"]),
        ("X-Pid", str(os.getpid())),
        ("Content-Length", str(len(body))),
    ])
    return [body]
