const fastify = require('fastify')({ return503OnClosing: false });

fastify.get('/*', async (request, reply) => {
  reply.header('X-Version', process.env.VERSION).header('X-Pid', String(process.pid));
  await new Promise((done) => setTimeout(done, request.query.ms || 0));
  return 'fastify\n';
});
fastify.listen({ fd: Number(process.argv[2]) });
process.on('SIGTERM', () => fastify.close());
