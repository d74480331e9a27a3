'use strict';
// A stop that loses nothing. The listener is closed first. A connection that was
// accepted gets its first request answered; one that is kept alive gets its next
// answer with Connection: close, instead of a close between two requests of its
// client; what is not HTTP is told and waited for; all within a deadline.

const http = require('http');
const net = require('net');

class Drain {
  /** Follows the connections of server from now on. */
  constructor(server, { timeout, grace, told, ended }) {
    Object.assign(this, { server, timeout, grace, told, ended });
    this.begun = false;
    this.waiting = 0; // promises of those that were told
    this.connections = new Map(); // socket → { requests, fresh, taken, read }
    this.answers = new Set(); // responses under way
    this.sessions = new Set(); // of HTTP/2
    this.http = server instanceof http.Server || server.listenerCount('request') > 0;
    this.follow();
  }

  /** Events pass here before any listener has them, however late it was added. */
  follow() {
    const emit = this.server.emit;
    this.server.emit = (event, ...args) => {
      switch (event) {
        case 'connection': this.accepted(args[0]); break;
        case 'secureConnection': this.secured(args[0]); break;
        case 'session': this.session(args[0]); break;
        case 'upgrade': case 'connect': this.taken(args[1]); break;
        case 'request': case 'checkContinue': case 'checkExpectation': this.request(...args); break;
      }
      return emit.call(this.server, event, ...args);
    };
  }

  accepted(socket) {
    if (this.connections.has(socket)) return; // handed in a second time by the program
    this.connections.set(socket, { requests: 0, fresh: this.http, taken: !this.http, read: 0 });
    socket.once('close', () => this.gone(socket));
  }

  /** TLS gives its program another socket than the one that was accepted. */
  secured(socket) {
    if (socket._parent) this.connections.delete(socket._parent);
    this.accepted(socket);
  }

  /** An HTTP/2 connection is a session, and its socket only a stand-in for the one accepted. */
  session(session) {
    const { remoteAddress, remotePort } = session.socket;
    for (const [socket, c] of this.connections) {
      if (socket.remotePort === remotePort && socket.remoteAddress === remoteAddress) Object.assign(c, { fresh: false, session: true });
    }
    this.sessions.add(session);
    session.once('close', () => { this.sessions.delete(session); this.look(); });
    if (this.begun) session.close();
  }

  taken(socket) {
    const c = this.connections.get(socket);
    if (c) Object.assign(c, { fresh: false, taken: true });
    this.look();
  }

  request(request, response) {
    if (request.httpVersionMajor > 1) return; // its session is told as a whole
    const socket = request.socket;
    const c = this.connections.get(socket);
    if (c) { c.requests++; c.fresh = false; }
    this.answers.add(response);
    if (this.begun) lastAnswer(response);
    response.once('close', () => {
      this.answers.delete(response);
      if (c) { c.requests--; c.read = socket.bytesRead; }
      this.look();
    });
  }

  gone(socket) {
    this.connections.delete(socket);
    this.look();
  }

  begin() {
    if (this.begun) return;
    this.begun = true;
    // Not the close() of http: since node 19 it closes idle connections as well.
    if (this.server.listening) net.Server.prototype.close.call(this.server);
    for (const response of this.answers) lastAnswer(response);
    for (const session of this.sessions) session.close(); // GOAWAY
    setTimeout(() => { this.impatient = true; this.look(); }, this.grace);
    setTimeout(() => this.end(), this.timeout);
    const sockets = [...this.connections].filter(([, c]) => c.taken).map(([socket]) => socket);
    for (const callback of this.told) {
      this.waiting++;
      new Promise(resolve => resolve(callback(sockets)))
        .catch(err => console.error('fugue: onDrain:', err))
        .finally(() => { this.waiting--; this.look(); });
    }
    this.look();
  }

  /** look ends the drain when nothing is left that is worth waiting for. */
  look() {
    if (!this.begun || this.over) return;
    for (const [socket, c] of this.connections) {
      if (this.impatient && quiet(socket, c)) socket.destroy();
    }
    if (this.connections.size + this.sessions.size + this.waiting === 0) this.finish(0);
  }

  /** end cuts off what is left. Those that are quiet are owed nothing. */
  end() {
    const cut = [...this.connections].filter(([socket, c]) => !c.fresh && !quiet(socket, c)).length;
    this.finish(cut);
  }

  finish(cut) {
    if (this.over) return;
    this.over = true;
    for (const session of this.sessions) session.destroy();
    for (const socket of this.connections.keys()) socket.destroy();
    this.ended(cut);
  }
}

/**
 * quiet: answered before, and nothing has come since, not even half a request. Or
 * ended by the program, and the client does not end its half.
 */
function quiet(socket, c) {
  if (c.taken) return socket.writableFinished;
  return !c.fresh && !c.session && c.requests === 0 && socket.bytesRead === c.read;
}

function lastAnswer(response) {
  if (!response.headersSent) response.setHeader('Connection', 'close');
}

module.exports = { Drain };
