'use strict';
// The API of fugue for node. The first process that calls start() runs the
// program fugue with this very script as its worker; in a worker start() serves
// the socket that it was given.

const options = require('./lib/options');
const worker = require('./lib/worker');
const master = require('./lib/master');

let started = false;

/** start(server, port | path, [host], workers, [options]): see index.d.ts. */
exports.start = function start(server, ...args) {
  if (started) throw new Error('fugue.start: called a second time; a script is one pool');
  const wanted = options.read(args, !worker.here);
  const served = worker.serverOf(server);
  started = true;
  if (worker.here) worker.serve(served, wanted.options);
  else master.start(wanted);
  return served;
};

exports.stop = callback => (worker.here ? worker.stop(callback) : master.stop(callback));
exports.isWorker = () => worker.here;
exports.isMaster = () => !worker.here;
exports.workerId = () => worker.id;
exports.workerPids = () => (worker.here ? [] : master.workerPids());
exports.masterSocketPath = () => (worker.here ? worker.masterSocketPath : master.socketPath());
exports.onDrain = worker.onDrain;
exports.draining = worker.draining;
