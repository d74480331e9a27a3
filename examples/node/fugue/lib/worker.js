'use strict';
// A worker: it serves the socket that fugue gave it, and drains when told to.

const http = require('http');
const net = require('net');
const { Drain } = require('./drain');
const watchdog = require('./watchdog');

// The variables of a parent that forgot to remove them are not for us, and a
// child must not take ours for its own.
const here = process.env.LISTEN_PID === String(process.pid) && process.env.FUGUE_WORKER !== undefined;
const id = here ? Number(process.env.FUGUE_WORKER) : null;
const masterSocketPath = (here && process.env.FUGUE_NODE_MASTER) || null;
const sockets = here ? Number(process.env.LISTEN_FDS) : 0;
if (here) {
  for (const name of ['LISTEN_FDS', 'LISTEN_PID', 'LISTEN_PIDFDID', 'LISTEN_FDNAMES', 'FUGUE_NODE_MASTER']) {
    delete process.env[name];
  }
}

const firstFD = 3; // SD_LISTEN_FDS_START

/** serverOf makes a server of what handles requests, an express app for one. */
function serverOf(server) {
  if (server instanceof net.Server) return server;
  if (typeof server === 'function') return http.createServer(server);
  throw new TypeError('fugue.start: want a net.Server, or a function that handles requests');
}

const told = []; // callbacks of onDrain
let drain = null;

function serve(server, options) {
  if (sockets === 0) throw new Error('fugue.start: this worker was given no socket; the pool has no listener');
  drain = new Drain(server, {
    timeout: options.drain_timeout ?? 25_000,
    grace: options.idle_grace ?? 5_000,
    told,
    ended: cut => {
      if (cut > 0) console.error(`fugue: ${cut} connections were cut off`);
      process.exit(cut > 0 ? 1 : 0);
    },
  });
  // Not once(): without a listener the second signal would kill.
  process.on('SIGTERM', () => drain.begin());
  process.on('SIGINT', () => drain.begin());
  server.listen({ fd: firstFD }, () => {
    watchdog.start(options.worker_to_master_ping_interval);
    options.started?.();
  });
}

/** stop drains this worker; fugue replaces it. */
function stop(callback) {
  if (callback) process.once('exit', () => callback());
  if (drain) drain.begin();
  else process.exit(0);
}

module.exports = {
  here, id, masterSocketPath, serverOf, serve, stop,
  onDrain: callback => { told.push(callback); },
  draining: () => drain !== null && drain.begun,
};
