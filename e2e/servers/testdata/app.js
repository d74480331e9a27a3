// A node server that drains: close() stops accepting and lets every connection
// it has accepted get its answer.
const http = require('http');

const server = http.createServer((request, response) => {
  response.setHeader('X-Version', process.env.VERSION);
  response.setHeader('X-Pid', process.pid);
  setTimeout(() => response.end('node\n'), request.url.startsWith('/slow') ? 50 : 0);
});
server.listen({ fd: Number(process.argv[2]) });
process.on('SIGTERM', () => server.close());
