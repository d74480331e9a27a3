import os


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = "hello from worker {FUGUE_WORKER}, generation {FUGUE_GENERATION}\n".format(**os.environ).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [
        (b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode()),
    ]})
    await send({"type": "http.response.body", "body": body})
