import { ISignal, Signal } from '@lumino/signaling';

import { OVER, Snapshot } from '../drawing/run.js';
import { Row, Server, Store, Worker } from './server';

const FIRST_DELAY_MS = 500;
const LAST_DELAY_MS = 15000;
/** A socket that is lost for less than this is not worth a word. */
const GRACE_MS = 3000;

/** Who wants to see a run. */
export interface Watcher {
  /** The run as it stands; somebody answers questions about it. */
  show(snapshot: Snapshot): void;
  /** Nobody answers, for now: the server is away, or no store knows the run. */
  lose(message: string): void;
}

interface List {
  kind: 'list';
  whole: boolean;
  runs: Row[];
  gone: string[];
  stores: Store[];
  more: boolean;
  read_only: boolean;
}

type Message =
  | List
  | { kind: 'workers'; workers: Worker[] }
  | { kind: 'run'; run: string; snapshot: Snapshot | null; message?: string };

/** What the server tells: one socket for the whole page, whatever kernels come and go. */
export class Feed {
  /** The newest runs, by id. */
  readonly rows = new Map<string, Row>();
  stores: Store[] = [];
  workers: Worker[] | null = null;
  /** Whether there are older runs than those. */
  more = false;
  readOnly = false;
  /** `live`; `lost`, and tried again; `absent`: the server has no such extension. */
  state: 'connecting' | 'live' | 'lost' | 'absent' = 'connecting';

  constructor(private readonly server: Server) {}

  /** Something of the above has changed. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** These runs have ended, and were seen before they had. */
  get ended(): ISignal<this, Row[]> {
    return this._ended;
  }

  /** The runs that have not ended. */
  get live(): Row[] {
    return [...this.rows.values()].filter(row => !OVER.has(row.state));
  }

  start(): void {
    const socket = (this._socket = this.server.open());
    let wasOpen = false;
    socket.onopen = () => {
      wasOpen = true;
      this._delay = FIRST_DELAY_MS;
      this.say();
    };
    socket.onmessage = event => this.hear(JSON.parse(event.data as string) as Message);
    socket.onclose = () => void this.again(wasOpen);
  }

  /** Let somebody see a run until the function that is returned is called. */
  watch(run: string, watcher: Watcher): () => void {
    const watchers = this._watchers.get(run) ?? new Set();
    watchers.add(watcher);
    this._watchers.set(run, watchers);
    const known = this._snapshots.get(run);
    if (known && this.state === 'live') {
      watcher.show(known);
    }
    this.saySoon();
    return () => {
      watchers.delete(watcher);
      if (!watchers.size && this._watchers.get(run) === watchers) {
        this._watchers.delete(run);
        this._snapshots.delete(run);
        this.saySoon();
      }
    };
  }

  /** Whether workers are wanted. */
  wantWorkers(wanted: boolean): void {
    if (wanted !== this._wantsWorkers) {
      this._wantsWorkers = wanted;
      this.saySoon();
    }
  }

  private hear(message: Message): void {
    if (message.kind === 'run') {
      this.hearOfRun(message.run, message.snapshot, message.message ?? '');
      return;
    }
    if (message.kind === 'workers') {
      this.workers = message.workers;
    } else {
      this.hearOfList(message);
    }
    this._changed.emit();
  }

  private hearOfRun(run: string, snapshot: Snapshot | null, message: string): void {
    if (snapshot) {
      this._snapshots.set(run, snapshot);
    } else {
      this._snapshots.delete(run);
    }
    for (const watcher of this._watchers.get(run) ?? []) {
      if (snapshot) {
        watcher.show(snapshot);
      } else {
        watcher.lose(message);
      }
    }
  }

  private hearOfList(message: List): void {
    const kept = new Set(message.runs.map(row => row.run));
    const ended = message.runs.filter(row => OVER.has(row.state) && this.wasLive(row.run));
    const gone = message.whole ? [...this.rows.keys()].filter(run => !kept.has(run)) : message.gone;
    gone.forEach(run => this.rows.delete(run));
    message.runs.forEach(row => this.rows.set(row.run, row));
    this.stores = message.stores;
    this.more = message.more;
    this.readOnly = message.read_only;
    this.state = 'live';
    if (ended.length) {
      this._ended.emit(ended);
    }
  }

  private wasLive(run: string): boolean {
    const before = this.rows.get(run);
    return before !== undefined && !OVER.has(before.state);
  }

  private async again(wasOpen: boolean): Promise<void> {
    if (!wasOpen && !(await this.server.isThere())) {
      this.lose('absent');
      return;
    }
    setTimeout(() => this.start(), this._delay);
    this._delay = Math.min(this._delay * 2, LAST_DELAY_MS);
    if (this.state === 'live') {
      this.state = 'connecting';
      setTimeout(() => this.state === 'connecting' && this.lose('lost'), GRACE_MS);
    } else if (!wasOpen) {
      this.lose('lost');
    }
  }

  private lose(state: 'lost' | 'absent'): void {
    this.state = state;
    this.workers = null;
    for (const watchers of this._watchers.values()) {
      watchers.forEach(watcher => watcher.lose('The Jupyter server is away.'));
    }
    this._changed.emit();
  }

  /** Several outputs that come at once are one word to the server. */
  private saySoon(): void {
    if (!this._saying) {
      this._saying = true;
      queueMicrotask(() => {
        this._saying = false;
        this.say();
      });
    }
  }

  private say(): void {
    if (this._socket?.readyState === 1) {
      this._socket.send(JSON.stringify({ watch: [...this._watchers.keys()], workers: this._wantsWorkers }));
    }
  }

  private _socket: WebSocket | null = null;
  private _delay = FIRST_DELAY_MS;
  private _saying = false;
  private _wantsWorkers = false;
  private readonly _watchers = new Map<string, Set<Watcher>>();
  private readonly _snapshots = new Map<string, Snapshot>();
  private readonly _changed = new Signal<this, void>(this);
  private readonly _ended = new Signal<this, Row[]>(this);
}
