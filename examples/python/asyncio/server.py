"""A server of asyncio's own, with a drain: it stops to accept, and every
connection that it has accepted gets its answer."""
import asyncio
import os
import signal
import socket

FIRST_FD = 3  # SD_LISTEN_FDS_START


async def answer(reader, writer):
    try:
        await reader.readuntil(b"\r\n\r\n")
        body = "hello from worker {FUGUE_WORKER}, generation {FUGUE_GENERATION}\n".format(**os.environ)
        writer.write(f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass  # it has gone
    finally:
        writer.close()


async def main():
    answering = set()

    async def serve(reader, writer):
        task = asyncio.current_task()
        answering.add(task)
        try:
            await answer(reader, writer)
        finally:
            answering.discard(task)

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await asyncio.start_server(serve, sock=socket.socket(fileno=FIRST_FD))
    await stop.wait()
    server.close()
    await asyncio.sleep(0)  # what was accepted in this turn of the loop has its task now
    while answering:
        await asyncio.wait(answering)


asyncio.run(main())
