// node's own cluster: two processes of its own, which accept for themselves.
const cluster = require('cluster');

cluster.schedulingPolicy = cluster.SCHED_NONE;
if (cluster.isPrimary) {
  cluster.fork();
  cluster.fork();
  // Each closes its server, and ends with its last connection.
  process.on('SIGTERM', () => cluster.disconnect());
} else {
  require('./app.js');
}
