'use strict';
// Pings that show fugue that the event loop turns. node cannot send a datagram
// to a unix socket, so one small process of fugue does it for as long as this one
// lives; it sends only what it is told here.

const { spawn } = require('child_process');

function start(interval) {
  const usec = Number(process.env.WATCHDOG_USEC);
  if (!(usec > 0)) return;
  const every = Math.min(interval || Infinity, usec / 2000);
  const notify = spawn(process.env.FUGUE_BINARY || 'fugue', ['notify', '-'], { stdio: ['pipe', 'ignore', 'inherit'] });
  notify.on('error', err => console.error(`fugue: no watchdog pings: ${err.message}`));
  notify.stdin.on('error', () => {}); // it has ended; fugue sees that no ping comes
  notify.unref();
  notify.stdin.unref();
  const ping = () => notify.stdin.write('WATCHDOG=1\n');
  ping();
  setInterval(ping, every).unref();
}

module.exports = { start };
