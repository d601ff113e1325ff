import { clock, count, OVER, SIGNS } from '../drawing/run.js';
import { arrange, h, say } from './dom';
import { Row } from './server';

/** The runs in a list, the newest first; each is a button that opens it. */
export class RunList {
  readonly node = h('ul', { class: 'tf-List', 'aria-label': 'Runs' });

  constructor(private readonly open: (run: string) => void) {}

  draw(rows: Row[]): void {
    const items = rows.map(row => {
      const item = this._items.get(row.run) ?? new Item(() => this.open(row.run));
      item.draw(row);
      return [row.run, item] as const;
    });
    this._items = new Map(items);
    arrange(this.node, items.map(([, item]) => item.node));
  }

  /** Puts the focus on a run, or on the first. */
  focus(run: string): void {
    (this._items.get(run) ?? this._items.values().next().value)?.focus();
  }

  private _items = new Map<string, Item>();
}

class Item {
  readonly node = h('li', {});

  constructor(open: () => void) {
    const head = h('span', { class: 'tf-Item-head' }, this._sign, this._name, this._count);
    const foot = h('span', { class: 'tf-Item-foot' }, this._when, this._failed);
    this._button = h('button', { type: 'button', class: 'tf-Item', onclick: open }, head, this._bar, foot);
    this.node.append(this._button);
  }

  draw(row: Row): void {
    this._button.dataset.state = row.state;
    this._button.title = `${row.name} (${row.state})\n${row.store}\n${row.run}`;
    say(this._sign, SIGNS[row.state] ?? '');
    say(this._name, row.name);
    say(this._count, progressOf(row));
    say(this._failed, row.failed ? `${count(row.failed)} failed` : '');
    say(this._when, whenOf(row));
    this._bar.max = Math.max(1, row.total ?? row.done);
    this._bar.value = row.done;
    if (row.total === null && !OVER.has(row.state)) {
      this._bar.removeAttribute('value');
    }
    this._button.setAttribute('aria-label', `${row.name}: ${row.state}, ${progressOf(row)}, ${whenOf(row)}`);
  }

  focus(): void {
    this._button.focus();
  }

  private readonly _button: HTMLButtonElement;
  private readonly _sign = h('span', { class: 'tf-Item-sign', 'aria-hidden': 'true' });
  private readonly _name = h('span', { class: 'tf-Item-name' });
  private readonly _count = h('span', { class: 'tf-Item-count' });
  private readonly _bar = h('progress', { 'aria-hidden': 'true' });
  private readonly _when = h('span', {});
  private readonly _failed = h('span', { class: 'tf-Item-failed' });
}

function progressOf(row: Row): string {
  return `${count(row.done)} of ${row.total === null ? '?' : count(row.total)}`;
}

/** What is left of a run that goes on; when another was made, and how long it took. */
function whenOf(row: Row): string {
  if (!OVER.has(row.state)) {
    return row.eta_s === null ? row.state : `${row.state}, ${clock(row.eta_s)} left`;
  }
  return `${row.state} ${when(row.created_at)}, took ${length((row.ended_at ?? row.created_at) - row.created_at)}`;
}

function length(seconds: number): string {
  if (seconds < 1) {
    return `${Math.round(1000 * seconds)} ms`;
  }
  return seconds < 10 ? `${seconds.toFixed(1)} s` : clock(seconds);
}

function when(seconds: number): string {
  const at = new Date(seconds * 1000);
  const isToday = at.toDateString() === new Date().toDateString();
  const time = at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  return isToday ? `at ${time}` : `on ${at.toLocaleDateString([], { day: 'numeric', month: 'short' })}`;
}
