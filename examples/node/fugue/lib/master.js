'use strict';
// The process that a person starts: it runs the program fugue, which runs this
// script again as often as workers are wanted, and stays in front of it: signals
// are handed on, the exit status comes back.

const { spawn, execFileSync } = require('child_process');
const dns = require('dns');
const fs = require('fs');
const http = require('http');
const net = require('net');
const os = require('os');
const path = require('path');
const tty = require('tty');

const signals = ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP', 'SIGUSR2', 'SIGTTIN', 'SIGTTOU'];

let pool = null; // { name, binary, directory, child, stopping, ended }

function start({ port, host, path: socket, workers, options }) {
  if (!process.argv[1]) throw new Error('fugue.start: there is no script that workers could run');
  const name = options.name ?? defaultName(port ?? path.basename(socket));
  const binary = options.binary ?? process.env.FUGUE_BINARY ?? 'fugue';
  pool = { name, binary, options, env: { ...process.env }, onEnd: [] };
  place(pool);
  const begin = address => {
    if (!pool.stopping) run(pool, argumentsFor(pool, address, workers));
  };
  if (socket !== undefined) begin(socket);
  else if (!host) begin(String(port));
  else if (net.isIP(host)) begin(join(host, port));
  else { // fugue looks no names up
    dns.lookup(host, (err, ip) => {
      if (err) fail(`look up ${host}: ${err.message}`);
      else begin(join(ip, port));
    });
  }
}

const join = (ip, port) => (net.isIPv6(ip) ? `[${ip}]:${port}` : `${ip}:${port}`);

/** defaultName is what `fugue list` shows. */
function defaultName(address) {
  const script = path.basename(process.argv[1], path.extname(process.argv[1]));
  return `${script}-${address}`.replace(/[^A-Za-z0-9_.@-]/g, '-').replace(/^[^A-Za-z0-9]+/, '').slice(0, 64);
}

/** place finds the pool's directory by fugue's own rule, and makes one where it has none. */
function place(pool) {
  const given = (process.env.RUNTIME_DIRECTORY ?? '').split(':').find(d => d.endsWith(`/fugue/${pool.name}`));
  if (given) pool.directory = given;
  else if (process.getuid() === 0) pool.directory = `/run/fugue/${pool.name}`;
  else if (process.env.XDG_RUNTIME_DIR) pool.directory = `${process.env.XDG_RUNTIME_DIR}/fugue/${pool.name}`;
  else {
    const made = fs.mkdtempSync(path.join(pool.options.tmp_path ?? os.tmpdir(), 'fugue-'));
    pool.directory = `${made}/fugue/${pool.name}`;
    pool.env.RUNTIME_DIRECTORY = pool.directory;
    // A daemon's is its own for as long as it lives.
    process.once('exit', code => {
      if (!pool.options.daemonize || code !== 0) fs.rmSync(made, { recursive: true, force: true });
    });
  }
}

/** argumentsFor is the command line of fugue: every option is a key of its configuration. */
function argumentsFor({ name, binary, directory, options: o }, address, workers) {
  const args = ['run', '--name', name, '-n', String(workers), '-l', `http=${address}`];
  const flag = (key, value) => { if (value !== undefined) args.push(`--${key}`, String(value)); };
  const set = (key, value) => { if (value !== undefined) args.push('--set', `${key}=${value}`); };
  flag('directory', o.working_path && path.resolve(o.working_path));
  flag('user', o.uid);
  flag('group', o.gid);
  const file = name => name && path.resolve(name);
  flag('tmp_directory', file(o.tmp_path));
  flag('log.stdout', file(o.log_file));
  flag('log.stderr', file(o.log_file));
  flag('log.master', file(o.master_log_file ?? o.log_file));
  flag('log.level', o.verbose ? 'info' : 'warning');
  const patience = o.worker_kill_timeout ?? (o.worker_to_master_ping_interval && 30_000);
  flag('watchdog.timeout', patience && `${patience}ms`);
  flag('pid_file', file(o.master_pid_path));
  if (o.daemonize) args.push('--daemonize');
  for (const [key, value] of Object.entries(o.set ?? {})) set(key, value);
  args.push('-e', `FUGUE_BINARY=${binary}`, '-e', `FUGUE_NODE_MASTER=${directory}/control.sock`);
  return [...args, '--', process.execPath, ...process.execArgv, path.resolve(process.argv[1]), ...process.argv.slice(2)];
}

function run(pool, args) {
  // In a session of its own, so that a key pressed in a terminal reaches it once,
  // through us: a second signal would end it at once.
  pool.child = spawn(pool.binary, args, { stdio: ['ignore', 'inherit', 'inherit'], detached: true, env: pool.env });
  // A terminal that goes away says HUP, which to fugue is a reload.
  const forward = signal => pool.child.kill(signal === 'SIGHUP' && tty.isatty(0) ? 'SIGTERM' : signal);
  for (const signal of signals) process.on(signal, forward);
  const bye = guard(pool);
  const ended = code => {
    if (pool.ended) return;
    pool.ended = true;
    for (const signal of signals) process.removeListener(signal, forward);
    bye();
    for (const callback of pool.onEnd) callback();
    if (code !== 0) process.exitCode = code;
    if (!pool.stopping) process.exit();
  };
  pool.child.on('error', err => {
    console.error(`fugue: run ${pool.binary}: ${err.message}; the option binary or FUGUE_BINARY says where the program is`);
    ended(1);
  });
  pool.child.on('exit', (code, signal) => {
    const daemon = pool.options.daemonize;
    // What runs in the background is ready, and needs nobody in front of it.
    if (daemon && code === 0 && !pool.stopping) pool.options.started?.();
    // A stop may come before fugue has begun to listen to signals, and a daemon
    // that it takes along was never ready.
    if (pool.stopping && (signal === 'SIGTERM' || daemon)) ended(0);
    else ended(code ?? 128 + os.constants.signals[signal]);
  });
  if (!pool.options.daemonize) serves(pool, () => pool.options.started?.());
}

/**
 * guard ends the pool when this process is gone without having ended it, by
 * SIGKILL for one: a shell waits for the end of its input. It is told when all
 * is well.
 */
function guard(pool) {
  const script = 'read -r bye || exec "$0" stop "$1" >/dev/null 2>&1';
  const shell = spawn('/bin/sh', ['-c', script, pool.binary, pool.name],
    { stdio: ['pipe', 'ignore', 'ignore'], detached: true, env: pool.env });
  shell.on('error', err => console.error(`fugue: the pool will outlive this process if it is killed: ${err.message}`));
  shell.stdin.on('error', () => {});
  shell.unref();
  shell.stdin.unref();
  return () => shell.stdin.end('bye\n');
}

/** serves calls back once the pool does. The master's socket comes with its start. */
function serves(pool, callback) {
  const again = () => setTimeout(ask, 50).unref();
  const ask = () => {
    if (pool.ended || pool.stopping) return;
    http.get({ socketPath: `${pool.directory}/control.sock`, path: '/status', host: 'fugue', agent: false }, answer => {
      let text = '';
      answer.on('data', part => { text += part; }).on('end', () => {
        const status = parse(text);
        if (status?.pid === pool.child.pid && !['starting', 'stopping', undefined].includes(status.state)) callback();
        else again();
      }).on('error', again);
    }).on('error', again);
  };
  ask();
}

function parse(text) {
  try { return JSON.parse(text); } catch { return undefined; }
}

function fail(text) {
  console.error(`fugue: ${text}`);
  process.exit(1);
}

/** stop ends the pool; with it this process has nothing more to wait for. */
function stop(callback) {
  if (!pool || pool.ended) {
    if (callback) setImmediate(callback);
    return;
  }
  if (callback) pool.onEnd.push(callback);
  if (pool.stopping) return;
  pool.stopping = true;
  if (pool.child) pool.child.kill('SIGTERM');
  else for (const callback of pool.onEnd) setImmediate(callback);
}

function workerPids() {
  if (!pool?.child || pool.ended) return [];
  try {
    const text = execFileSync(pool.binary, ['status', pool.name, '-o', 'json'],
      { env: pool.env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    return parse(text).workers.map(w => w.pid).filter(pid => pid > 0);
  } catch (err) {
    // Degraded is an exit status, and an answer.
    return (parse(err.stdout ?? '')?.workers ?? []).map(w => w.pid).filter(pid => pid > 0);
  }
}

const socketPath = () => (pool ? `${pool.directory}/control.sock` : null);

module.exports = { start, stop, workerPids, socketPath };
