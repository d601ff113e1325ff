import { Widget } from '@lumino/widgets';

import { count } from '../drawing/run.js';
import { h, say } from './dom';
import { Feed } from './feed';
import { Row } from './server';

/** "3 runs · 71 %", and the way to them. */
export class StatusItem extends Widget {
  constructor(feed: Feed, show: () => void) {
    super();
    this.addClass('tf-Status');
    const title = 'Show taskflow runs';
    const button = h('button', { type: 'button', class: 'tf-Status-button', title, onclick: show });
    this.node.append(button);
    feed.changed.connect(() => say(button, summary(feed.live)), this);
  }
}

/** How many runs there are, and how much of them is done, as far as that is known. */
export function summary(live: Row[]): string {
  const known = live.filter(row => row.total);
  const total = known.reduce((sum, row) => sum + (row.total ?? 0), 0);
  const done = known.reduce((sum, row) => sum + row.done, 0);
  const runs = live.length === 1 ? '1 run' : `${count(live.length)} runs`;
  return total ? `${runs} · ${Math.floor((100 * done) / total)} %` : runs;
}
