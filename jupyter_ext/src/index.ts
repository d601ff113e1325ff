import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { LabIcon } from '@jupyterlab/ui-components';

import { MIME } from '../drawing/run.js';
import { Feed } from './feed';
import { notify } from './notify';
import { RunOutput } from './output';
import { RunsPanel } from './panel';
import { Context } from './run';
import { Server } from './server';
import { StatusItem } from './status';

const SHOW = 'taskflow:show-runs';
const OPEN = 'taskflow:open-run';
/** Before the view of a widget (-10), so that the drawing that needs no kernel is preferred. */
const RANK = -20;

const icon = new LabIcon({
  name: 'taskflow:runs',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="16"><g class="jp-icon3" fill="#616161">
    <rect x="2" y="3" width="8" height="5" rx="1.5"/><rect x="14" y="9.5" width="8" height="5" rx="1.5"/>
    <rect x="2" y="16" width="8" height="5" rx="1.5"/><path d="M10 5h2.6v14H10v-1.4h1.2v-5H14v-1.2h-2.8v-5H10z"/></g></svg>`
});

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'taskflow-lab:plugin',
  description: 'Runs of taskflow: a panel, outputs that stay live without a kernel, notifications.',
  autoStart: true,
  optional: [ICommandPalette, ILayoutRestorer, IRenderMimeRegistry, ISettingRegistry, IStatusBar],
  activate
};

export default plugin;

/** What is used of a notebook, whichever widget it is in. */
interface Cells {
  widgets: { model?: { id?: string } }[];
  activeCellIndex: number;
  scrollToItem?(index: number): Promise<void>;
}

function goTo(app: JupyterFrontEnd, cell: string): boolean {
  for (const widget of app.shell.widgets('main')) {
    const notebook = (widget as unknown as { content?: Cells }).content;
    const index = Array.isArray(notebook?.widgets) ? notebook.widgets.findIndex(one => one.model?.id === cell) : -1;
    if (notebook && index >= 0) {
      app.shell.activateById(widget.id);
      notebook.activeCellIndex = index;
      void notebook.scrollToItem?.(index);
      return true;
    }
  }
  return false;
}

function activate(
  app: JupyterFrontEnd,
  palette: ICommandPalette | null,
  restorer: ILayoutRestorer | null,
  rendermime: IRenderMimeRegistry | null,
  settings: ISettingRegistry | null,
  statusBar: IStatusBar | null
): void {
  const server = new Server(app.serviceManager.serverSettings);
  const feed = new Feed(server);
  const show = () => app.shell.activateById(panel.id);
  const open = (run: string) => {
    show();
    panel.open(run);
  };
  const context: Context = { server, feed, open, goTo: cell => goTo(app, cell) };

  rendermime?.addFactory(
    { safe: true, mimeTypes: [MIME], createRenderer: () => new RunOutput(context) },
    RANK
  );

  const panel = new RunsPanel(context);
  panel.title.icon = icon;
  panel.title.caption = 'taskflow runs';
  app.shell.add(panel, 'left', { rank: 350, type: 'taskflow' });
  restorer?.add(panel, panel.id);

  app.commands.addCommand(SHOW, { label: 'Show Runs', caption: 'Show the runs of taskflow', icon, execute: show });
  app.commands.addCommand(OPEN, {
    label: 'Show a Run',
    caption: 'Show the run with the id that is given as "run"',
    execute: args => open(String(args.run)),
    isVisible: () => false
  });
  palette?.addItem({ command: SHOW, category: 'taskflow' });

  const item = new StatusItem(feed, show);
  statusBar?.registerStatusItem('taskflow-lab:status', {
    align: 'left',
    rank: 50,
    item,
    isActive: () => feed.live.length > 0,
    activeStateChanged: feed.changed
  });

  const loaded = settings?.load(plugin.id).catch(() => null);
  feed.ended.connect((_, rows) => {
    void Promise.resolve(loaded).then(found => {
      if (found?.composite.notifications !== false) {
        notify(rows, open, show);
      }
    });
  });
  feed.start();
}
