import { Server, Socket } from 'net';

/** Times are milliseconds. */
export interface Options {
  /** Called in the master when the pool serves, and in each worker when it does. */
  started?: () => void;
  /** Directory that workers run in. */
  working_path?: string;
  /** Directory in which each worker has one of its own for temporary files, TMPDIR. */
  tmp_path?: string;
  /** File that the output of the workers is appended to, and that of the master where master_log_file is not said. */
  log_file?: string;
  /** File that the master's own lines are appended to. */
  master_log_file?: string;
  /** Whom workers run as: name or number. */
  uid?: string | number;
  gid?: string | number;
  /** Return to the shell when the pool serves. */
  daemonize?: boolean;
  /** File that the number of the master is written to. */
  master_pid_path?: string;
  /** Say what the master does. */
  verbose?: boolean;
  /** How often a worker shows that it is alive; of use with worker_kill_timeout. */
  worker_to_master_ping_interval?: number;
  /** A worker that has not shown for so long that it is alive is replaced. */
  worker_kill_timeout?: number;

  /** Name of the pool for the commands of fugue; else the script's name and the port. */
  name?: string;
  /** Path of the program fugue; else FUGUE_BINARY, else it is looked for in PATH. */
  binary?: string;
  /** Any key of fugue's configuration: { 'reload.max_surge': 2 }. */
  set?: { [key: string]: string | number | boolean };
  /** How long a worker that is to stop waits for its last answers. 25 s. */
  drain_timeout?: number;
  /** How long it keeps connections on which nothing is asked. 5 s. */
  idle_grace?: number;
}

/** A net.Server, what inherits from it, or what handles requests, as an express app does. */
export type Served = Server | ((request: any, response: any) => void);

/**
 * Starts the pool, or, in a worker, serves its socket.
 * @param port a port, or the path of a unix socket
 * @param host an address or a name; all addresses where it is null
 * @throws TypeError for what makes no sense
 */
export function start(server: Served, port: number | string, host: string | null, workers: number, options?: Options): Server;
export function start(server: Served, port: number | string, workers: number, options?: Options): Server;

/** Ends the pool; in a worker, that worker, which is then replaced. The callback is told when it has ended. */
export function stop(callback?: () => void): void;

export function isMaster(): boolean;
export function isWorker(): boolean;
/** The slot of this worker, from 1: no two that live have the same. Null in the master. */
export function workerId(): number | null;
/** The numbers of the processes of the workers. Empty in a worker. */
export function workerPids(): number[];
/** The master's control socket, null before start(). HTTP: curl --unix-socket PATH http://fugue/status */
export function masterSocketPath(): string | null;

/**
 * Calls back in a worker when it begins to drain, with the connections that are
 * not HTTP's any more, or never were: websockets, those of a net.Server. They
 * are waited for, and so is a promise, until drain_timeout.
 */
export function onDrain(callback: (sockets: Socket[]) => void | Promise<unknown>): void;
/** Whether this worker drains. */
export function draining(): boolean;
