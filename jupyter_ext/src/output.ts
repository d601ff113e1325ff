import { IRenderMime } from '@jupyterlab/rendermime';
import { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';

import { MIME, Snapshot } from '../drawing/run.js';
import { h } from './dom';
import { Context, RunView } from './run';

const RUN_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * The output of a cell that shows a run.
 *
 * In a notebook that is not trusted it is drawn as it was saved, and asks nothing: what a stranger wrote into
 * a file presses no buttons here.
 */
export class RunOutput extends Widget implements IRenderMime.IRenderer {
  constructor(private readonly context: Context) {
    super();
    this.addClass('tf-Output');
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const saved = model.data[MIME] as unknown;
    if (!isSnapshot(saved)) {
      this.refuse('This output was made by another version of taskflow, and cannot be drawn here.');
      return;
    }
    if (this._view?.run !== saved.run) {
      this._view?.dispose();
      this._view = new RunView(this.node, this.context, saved.run);
    }
    try {
      this._view.showSaved(saved);
    } catch (error) {
      console.warn('taskflow: a saved run is damaged', error);
      this.refuse('This output is damaged, and cannot be drawn.');
      return;
    }
    if (model.trusted) {
      this._view.watch();
    }
  }

  protected onAfterAttach(_: Message): void {
    this._view?.redraw();
  }

  dispose(): void {
    this._view?.dispose();
    this._view = null;
    super.dispose();
  }

  private refuse(message: string): void {
    this._view?.dispose();
    this._view = null;
    this.node.replaceChildren(h('p', { class: 'tf-Words', role: 'status' }, message));
  }

  private _view: RunView | null = null;
}

function isSnapshot(saved: unknown): saved is Snapshot {
  const { v, run, name, state, at, stages, errors } = (saved ?? {}) as Partial<Snapshot>;
  return (
    v === 1 &&
    typeof run === 'string' &&
    RUN_ID.test(run) &&
    typeof name === 'string' &&
    typeof state === 'string' &&
    typeof at === 'number' &&
    Array.isArray(stages) &&
    Array.isArray(errors)
  );
}
