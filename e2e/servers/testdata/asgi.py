import asyncio
import os
from urllib.parse import parse_qs

HEADERS = [
    (b"x-version", os.environ["VERSION"].encode()),
    (b"x-pid", str(os.getpid()).encode()),
    (b"content-length", b"7"),
]


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])  # no lifespan
    ms = parse_qs(scope["query_string"].decode()).get("ms", ["0"])[0]
    await asyncio.sleep(int(ms) / 1000)
    if scope["method"] == "POST":
        while (await receive()).get("more_body"):
            pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"python\n"})
