import { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';

import { h, say } from './dom';
import { RunList } from './list';
import { Context, RunView } from './run';
import { Row } from './server';
import { summary } from './status';
import { Workers } from './workers';

const PAGE = 50;
const STATES = [
  ['', 'all states'],
  ['live', 'not ended'],
  ['failed', 'failed'],
  ['succeeded', 'succeeded'],
  ['cancelled', 'cancelled']
];
const FAILURES = ['failed', 'dead', 'expired'];
const OVER = [...FAILURES, 'succeeded', 'cancelled', 'skipped'];

const NO_RUNS = 'No runs yet. In a notebook: %load_ext taskflow, then client.map(f, items): it is shown here as it moves.';
const NO_SERVER =
  'The Jupyter server does not know of taskflow. Run: jupyter server extension enable taskflow, and start it again.';

/** The runs of all stores; one of them, in its place, with all that there is to see of it. */
export class RunsPanel extends Widget {
  constructor(private readonly context: Context) {
    super();
    this.id = 'taskflow-runs';
    this.addClass('tf-Panel');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', 'taskflow runs');
    this._list = new RunList(run => this.open(run));
    this._workers = new Workers(context.feed);
    this._overview.append(this.tools(), this._status, this._words, this._list.node, this._older, this._workers.node);
    this._detail.append(
      h('button', { type: 'button', class: 'tf-Back', onclick: () => this.back() }, '‹ All runs'),
      this._place
    );
    this.node.append(this._overview, this._detail);
    context.feed.changed.connect(this.draw, this);
    this.draw();
  }

  /** Shows one run in the place of the list. */
  open(run: string): void {
    this._view?.dispose();
    this._run = run;
    this._place.replaceChildren(h('p', { class: 'tf-Words', role: 'status' }, 'asking…'));
    this._view = new RunView(this._place, this.context, run, true);
    this._view.watch();
    this._overview.hidden = true;
    this._detail.hidden = false;
    (this._detail.firstElementChild as HTMLElement).focus();
  }

  protected onAfterShow(_: Message): void {
    this._workers.want(true);
    this.draw();
  }

  protected onAfterHide(_: Message): void {
    this._workers.want(false);
  }

  protected onAfterAttach(_: Message): void {
    this._workers.want(this.isVisible);
  }

  private back(): void {
    this._view?.dispose();
    this._view = null;
    this._detail.hidden = true;
    this._overview.hidden = false;
    this._list.focus(this._run);
  }

  private tools(): HTMLElement {
    for (const [value, text] of STATES) {
      this._state.append(h('option', { value }, text));
    }
    return h('div', { class: 'tf-Tools', role: 'search' }, this._search, this._state);
  }

  private filter(): void {
    this._found = [];
    this._page = 0;
    this.draw();
  }

  /** Fetches what is older than the list that the server tells of. */
  private async older(): Promise<void> {
    this._older.disabled = true;
    try {
      const query = { page: this._page, size: PAGE, match: this._search.value.trim(), state: this._state.value };
      const { runs, more } = await this.context.server.runs(query);
      this._found.push(...runs);
      this._page += 1;
      this._isMore = more;
      say(this._trouble, '');
    } catch (error) {
      say(this._trouble, (error as Error).message);
    }
    this._older.disabled = false;
    this.draw();
  }

  private draw(): void {
    const { feed } = this.context;
    const rows = this.rows();
    this._list.draw(rows);
    this._workers.draw();
    this._older.hidden = !(this._page ? this._isMore : feed.more);
    const away = feed.stores.filter(store => store.state === 'away');
    const words = {
      connecting: 'asking the server…',
      lost: 'The Jupyter server is away. This list is as it was; it is asked again.',
      absent: NO_SERVER,
      live: feed.live.length ? summary(feed.live) : 'nothing runs'
    };
    say(this._status, words[feed.state]);
    const trouble = away.map(store => h('p', {}, h('b', {}, 'away: '), store.store, h('br'), store.message));
    const none = feed.state !== 'live' || rows.length ? '' : feed.rows.size ? 'No run is like that.' : NO_RUNS;
    if (this._wordsOf !== JSON.stringify([away, none])) {
      this._wordsOf = JSON.stringify([away, none]);
      this._words.replaceChildren(...trouble, ...(none ? [h('p', {}, none)] : []), this._trouble);
    }
  }

  private rows(): Row[] {
    const text = this._search.value.trim().toLowerCase();
    const rows = new Map(this._found.map(row => [row.run, row]));
    this.context.feed.rows.forEach(row => rows.set(row.run, row));
    return [...rows.values()]
      .filter(row => isOf(row.state, this._state.value))
      .filter(row => row.name.toLowerCase().includes(text) || row.run.startsWith(text))
      .sort((one, other) => other.created_at - one.created_at);
  }

  private _run = '';
  private _view: RunView | null = null;
  private _found: Row[] = [];
  private _page = 0;
  private _isMore = false;
  private _wordsOf = '';
  private readonly _list: RunList;
  private readonly _workers: Workers;
  private readonly _overview = h('div', { class: 'tf-Overview' });
  private readonly _detail = h('div', { class: 'tf-Detail', hidden: '' });
  private readonly _place = h('div', {});
  private readonly _status = h('div', { class: 'tf-Summary', role: 'status' });
  private readonly _words = h('div', { class: 'tf-Words', role: 'status' });
  private readonly _trouble = h('p', {});
  private readonly _search = h('input', {
    type: 'search',
    placeholder: 'name or id',
    'aria-label': 'Runs with this in their name',
    oninput: () => this.filter()
  });
  private readonly _state = h('select', {
    'aria-label': 'Runs in this state',
    onchange: () => this.filter()
  });
  private readonly _older = h('button', { type: 'button', class: 'tf-Older', onclick: () => void this.older() }, 'Older runs');
}

function isOf(state: string, group: string): boolean {
  if (group === 'live') {
    return !OVER.includes(state);
  }
  return !group || (group === 'failed' ? FAILURES.includes(state) : state === group);
}
