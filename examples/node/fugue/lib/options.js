'use strict';
// The arguments of start(), and what became of the options.

const path = require('path');

const known = {
  started: 'function',
  working_path: 'string',
  tmp_path: 'string',
  log_file: 'string',
  master_log_file: 'string',
  uid: 'name',
  gid: 'name',
  daemonize: 'boolean',
  master_pid_path: 'string',
  verbose: 'boolean',
  worker_to_master_ping_interval: 'number',
  worker_kill_timeout: 'number',
  name: 'string',
  binary: 'string',
  set: 'object',
  drain_timeout: 'number',
  idle_grace: 'number',
};

/** read takes (port, [host], workers, [options]) apart. The master alone speaks. */
function read(args, speak) {
  const rest = args.slice();
  const address = rest.shift();
  let host = null;
  if (typeof rest[0] !== 'number' || typeof rest[1] === 'number') host = rest.shift() ?? null;
  const [workers, given] = rest;
  if (!Number.isInteger(workers) || workers < 0) {
    throw new TypeError(`fugue.start: ${workers} is no number of workers`);
  }
  return { ...listen(address, host), workers, options: check(given ?? {}, speak) };
}

/** listen tells a port from the path of a unix socket. */
function listen(address, host) {
  if (typeof address === 'number' || /^\d+$/.test(address)) {
    if (!(Number(address) <= 65535)) throw new TypeError(`fugue.start: ${address} is no port`);
    return { port: Number(address), host };
  }
  if (typeof address !== 'string' || address === '') {
    throw new TypeError('fugue.start: want a port or the path of a unix socket');
  }
  if (address.startsWith('\0')) return { path: '@' + address.slice(1) };
  return { path: address.startsWith('@') ? address : path.resolve(address) };
}

function check(given, speak) {
  const options = {};
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null) continue;
    const want = known[name];
    if (want === undefined) {
      if (speak) console.error(`fugue: option ${name} has no meaning any more and is passed over`);
      continue;
    }
    const is = typeof value;
    if (want === 'name' ? is !== 'string' && is !== 'number' : is !== want) {
      throw new TypeError(`fugue.start: option ${name} is a ${is}, want a ${want === 'name' ? 'name or number' : want}`);
    }
    if (want === 'number' && !(value >= 0)) throw new TypeError(`fugue.start: option ${name} is ${value}`);
    options[name] = value;
  }
  return options;
}

module.exports = { read };
