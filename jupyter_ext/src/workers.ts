import { count } from '../drawing/run.js';
import { arrange, h, say } from './dom';
import { Feed } from './feed';
import { Worker } from './server';

/** Who works: a table that is asked for only while it is open. */
export class Workers {
  readonly node: HTMLDetailsElement;

  constructor(private readonly feed: Feed) {
    const title = h('tr', {}, ...['Worker', 'Host', 'Busy', 'Status'].map(name => h('th', { scope: 'col' }, name)));
    this._table = h('table', {}, h('thead', {}, title), this._body);
    this.node = h('details', { class: 'tf-Workers' }, h('summary', {}, this._title), this._words, this._table);
    this.node.addEventListener('toggle', () => this.want(this._isShown));
  }

  /** Whether anybody sees the panel. */
  want(isShown: boolean): void {
    this._isShown = isShown;
    this.feed.wantWorkers(isShown && this.node.open);
  }

  draw(): void {
    const workers = this.feed.workers;
    say(this._title, this.node.open && workers ? `Workers (${count(workers.length)})` : 'Workers');
    this._table.hidden = !workers?.length;
    say(
      this._words,
      !workers ? 'asking…' : workers.length ? '' : 'Nobody works now. A client starts its own workers with its first'
        + ' task; for a server, run: taskflow worker URL'
    );
    const rows = (workers ?? []).map(worker => [worker.worker, this._rows.get(worker.worker) ?? row(), worker] as const);
    rows.forEach(([, place, worker]) => fill(place, worker));
    this._rows = new Map(rows.map(([id, place]) => [id, place]));
    arrange(this._body, [...this._rows.values()]);
  }

  private _isShown = false;
  private _rows = new Map<string, HTMLTableRowElement>();
  private readonly _title = h('span', {}, 'Workers');
  private readonly _words = h('p', { class: 'tf-Words' });
  private readonly _body = h('tbody', {});
  private readonly _table: HTMLTableElement;
}

function row(): HTMLTableRowElement {
  return h('tr', {}, h('th', { scope: 'row' }), h('td', {}), h('td', {}), h('td', {}));
}

function fill(place: HTMLTableRowElement, worker: Worker): void {
  place.title = `${worker.worker}\npid ${worker.pid}, queues ${worker.queues}\n${worker.store}`;
  const texts = [worker.worker, worker.host, `${worker.busy} of ${worker.slots}`, worker.status];
  texts.forEach((text, i) => say(place.children[i], text));
}
