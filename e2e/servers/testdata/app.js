// A node server that drains: close() stops accepting and lets every connection
// it has accepted get its answer.
const http = require('http');

const server = http.createServer((request, response) => {
  const ms = new URL(request.url, 'http://x').searchParams.get('ms') || 0;
  response.setHeader('X-Version', process.env.VERSION);
  response.setHeader('X-Pid', process.pid);
  setTimeout(() => response.end('node\n'), ms);
});
server.listen({ fd: Number(process.argv[2]) });
process.on('SIGTERM', () => server.close());
