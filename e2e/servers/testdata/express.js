const app = require('express')();

app.use((request, response) => {
  response.set({ 'X-Version': process.env.VERSION, 'X-Pid': String(process.pid) });
  setTimeout(() => response.send('express\n'), request.query.ms || 0);
});
const server = app.listen({ fd: Number(process.argv[2]) });
process.on('SIGTERM', () => server.close());
