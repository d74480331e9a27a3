'use strict';
// A web server with websockets, by the package fugue: `node http-app.js` runs the
// pool, and each of its workers runs this file again.

const crypto = require('crypto');
const fugue = require('fugue');
const http = require('http');

const version = process.env.FUGUE_GENERATION;

const server = http.createServer((request, response) => {
  response.setHeader('X-Version', version ?? '');
  response.setHeader('X-Pid', process.pid);
  response.end(`hello from worker ${fugue.workerId()}, generation ${version}\n`);
});

// A websocket that says hello, and goodbye when this worker is to stop: close
// frame, status 1001. The client connects again, and meets another worker.
const goingAway = Buffer.from([0x88, 2, 0x03, 0xe9]);

server.on('upgrade', (request, socket) => {
  const accept = crypto.createHash('sha1')
    .update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
    + `Sec-WebSocket-Accept: ${accept}\r\n\r\n\x81\x05hello`, 'latin1');
  socket.on('error', () => {}).on('end', () => socket.end()).resume();
  if (fugue.draining()) socket.write(goingAway);
});

fugue.onDrain(sockets => {
  for (const socket of sockets) socket.write(goingAway);
});

// Every client that asks again within 20 s is answered once more before its
// connection ends; node itself would end it after 5 s.
server.keepAliveTimeout = 60_000;
fugue.start(server, process.env.PORT ?? 8080, '127.0.0.1', 2, { verbose: true, idle_grace: 20_000 });
