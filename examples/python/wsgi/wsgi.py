import os


def app(environ, start_response):
    body = "hello from worker {FUGUE_WORKER}, generation {FUGUE_GENERATION}\n".format(**os.environ).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
