import asyncio
import os

HEADERS = [
    (b"x-version", os.environ["VERSION"].encode()),
    (b"x-pid", str(os.getpid()).encode()),
    (b"content-length", b"8"),
]


async def app(scope, receive, send):
    if scope["path"] == "/slow":
        await asyncio.sleep(0.05)
    if scope["method"] == "POST":
        while (await receive()).get("more_body"):
            pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"uvicorn\n"})
