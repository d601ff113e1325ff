import { mount, Snapshot, View } from '../drawing/run.js';
import { h } from './dom';
import { Feed } from './feed';
import { Server } from './server';

/** What outputs and the panel share. */
export interface Context {
  server: Server;
  feed: Feed;
  /** Shows a run in the panel. */
  open(run: string): void;
  /** Shows a cell of a notebook that is open; whether there is such a cell. */
  goTo(cell: string): boolean;
}

/**
 * A run drawn into an element: live while the server tells of it, else as it was when it was last heard of.
 * It needs no kernel: it outlives restarts, and reloads of the page. Apart from its cell it leads there.
 */
export class RunView {
  constructor(
    private readonly place: HTMLElement,
    private readonly context: Context,
    readonly run: string,
    private readonly isApart = false
  ) {}

  /** Draw a snapshot that was saved, unless a newer one is drawn. */
  showSaved(snapshot: Snapshot): void {
    if (!this._snapshot || snapshot.at > this._snapshot.at) {
      this.draw(snapshot, this._live);
    } else {
      this._view?.learn(snapshot);
    }
  }

  /** Draw what the server tells from now on. */
  watch(): void {
    this._unwatch ??= this.context.feed.watch(this.run, {
      show: snapshot => this.draw(snapshot, true),
      lose: message => this.lose(message)
    });
  }

  /** Draw anew: the place has come onto the page, and has its colours. */
  redraw(): void {
    if (this._snapshot) {
      this.draw(this._snapshot, this._live);
    }
  }

  dispose(): void {
    this._unwatch?.();
    this._view?.dispose();
  }

  private lose(message: string): void {
    if (this._snapshot) {
      this.draw(this._snapshot, false);
    } else {
      this.place.replaceChildren(h('p', { class: 'tf-Words', role: 'status' }, message));
    }
  }

  private draw(snapshot: Snapshot, live: boolean): void {
    this._snapshot = snapshot;
    this._live = live;
    this.place.dataset.live = String(live);
    this.place.classList.toggle('tf-mod-readonly', this.context.feed.readOnly);
    if (this._view) {
      this._view.update(snapshot, live);
      return;
    }
    this.place.replaceChildren();
    this._view = mount(this.place, {
      snapshot,
      live,
      ask: query => this.context.server.ask(this.run, query),
      act: verb => this.act(verb),
      goTo: this.isApart ? cell => this.context.goTo(cell) : undefined
    });
  }

  private async act(verb: string): Promise<object> {
    const done = (await this.context.server.act(this.run, verb)) as { run?: string | null };
    if (verb === 'retry' && done.run) {
      this.context.open(done.run);
    }
    return done;
  }

  private _view: View | null = null;
  private _snapshot: Snapshot | null = null;
  private _live = false;
  private _unwatch: (() => void) | null = null;
}
