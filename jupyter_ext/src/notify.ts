import { Notification } from '@jupyterlab/apputils';

import { count, SIGNS } from '../drawing/run.js';
import { Row } from './server';

const LONG_S = 5;
const SINGLY = 3;
const SHOWN_MS = 8000;
const NAME_CHARS = 60;

/** Tells that runs have ended which took long enough to look away from. */
export function notify(ended: Row[], open: (run: string) => void, show: () => void): void {
  const long = ended.filter(row => (row.ended_at ?? 0) - row.created_at > LONG_S);
  if (long.length > SINGLY) {
    const wrong = long.filter(row => row.state !== 'succeeded').length;
    const words = wrong ? `${count(wrong)} of them not well` : 'all of them well';
    emit(`${count(long.length)} runs have ended, ${words}`, wrong ? 'warning' : 'success', 'Show runs', show);
    return;
  }
  for (const row of long) {
    const type = row.state === 'succeeded' ? 'success' : row.state === 'cancelled' ? 'info' : 'error';
    emit(resultOf(row), type, 'Show', () => open(row.run));
  }
}

/** For instance "✗ clean: 997 of 1,000, 3 failed". */
export function resultOf(row: Row): string {
  const name = row.name.length > NAME_CHARS ? `${row.name.slice(0, NAME_CHARS - 1)}…` : row.name;
  const well = count(row.succeeded);
  const facts = [row.total === null ? well : `${well} of ${count(row.total)}`];
  if (row.failed) {
    facts.push(`${count(row.failed)} failed`);
  }
  if (!['succeeded', 'failed'].includes(row.state)) {
    facts.push(row.state);
  }
  return `${SIGNS[row.state] ?? ''} ${name}: ${facts.join(', ')}`;
}

function emit(message: string, type: Notification.TypeOptions, label: string, callback: () => void): void {
  Notification.emit(message, type, { autoClose: SHOWN_MS, actions: [{ label, callback }] });
}
