'use strict';
// A script for the old fugue, as told by the environment: OLD is [port, host,
// workers, options], or [path, workers, options] for a unix socket.
const fugue = require('fugue');
const fs = require('fs');
const net = require('net');

const server = net.createServer(connection => {
  connection.on('error', () => {});
  if (process.env.STUCK) { // for ever, once it is told to
    connection.on('data', () => { for (;;); });
    return;
  }
  if (process.env.HOLD) { // answers when it is asked to
    connection.write(`${process.pid} holds\n`);
    connection.on('data', () => connection.end('done\n'));
    return;
  }
  connection.end(JSON.stringify({
    pid: process.pid, worker: fugue.workerId(), isWorker: fugue.isWorker(), isMaster: fugue.isMaster(),
    uid: process.getuid(), gid: process.getgid(), dir: process.cwd(), tmp: process.env.TMPDIR,
    fds: fs.readdirSync('/proc/self/fd').length, children: Object.keys(process.env).filter(n => n.startsWith('LISTEN_')),
  }));
});

const args = JSON.parse(process.env.OLD);
const options = args[args.length - 1];
options.started = () => console.log(`${fugue.isMaster() ? 'master' : 'worker'} started, ${fugue.workerPids().length} workers, ${fugue.masterSocketPath()}`);
fugue.start(server, ...args);
if (process.env.STOP && fugue.isMaster()) fugue.stop(() => console.log('stopped'));
