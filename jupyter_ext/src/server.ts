import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

/** A run in the list; taskflow/jupyter/rows.py. Its name is untrusted text. */
export interface Row {
  run: string;
  name: string;
  state: string;
  store: string;
  created_at: number;
  ended_at: number | null;
  total: number | null;
  done: number;
  succeeded: number;
  failed: number;
  running: number;
  eta_s: number | null;
}

/** A store that is shown: `ok`, `absent`, or `away` with a message. */
export interface Store {
  store: string;
  state: string;
  message: string;
}

export interface Worker {
  worker: string;
  host: string;
  pid: number;
  queues: string;
  slots: number;
  busy: number;
  status: string;
  store: string;
}

export interface Runs {
  runs: Row[];
  more: boolean;
}

/** What the Jupyter server answers, by its own settings: base URL, token, XSRF. */
export class Server {
  constructor(readonly settings: ServerConnection.ISettings) {}

  /** Opens the socket that tells what changes. */
  open(): WebSocket {
    const { wsUrl, appendToken, token, WebSocket } = this.settings;
    const url = URLExt.join(wsUrl, 'taskflow', 'api', 'events');
    return new WebSocket(appendToken && token ? `${url}?token=${encodeURIComponent(token)}` : url);
  }

  /** Older runs than the socket tells of, or those that match. */
  runs(query: { page: number; size: number; match: string; state: string }): Promise<Runs> {
    return this.answer(`runs${URLExt.objectToQueryString(query)}`);
  }

  ask(run: string, query: object): Promise<object> {
    return this.answer(`runs/${encodeURIComponent(run)}/ask`, query);
  }

  act(run: string, verb: string): Promise<object> {
    return this.answer(`runs/${encodeURIComponent(run)}/${verb}`, {});
  }

  /** Whether the server knows of taskflow at all; true also when it does not answer. */
  async isThere(): Promise<boolean> {
    try {
      return (await this.request('runs?size=1')).status !== 404;
    } catch {
      return true;
    }
  }

  private async answer<T>(path: string, body?: object): Promise<T> {
    const answer = await this.request(path, body);
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) {
      throw new Error(String(said.message || `the server answered ${answer.status}`));
    }
    return said as T;
  }

  private request(path: string, body?: object): Promise<Response> {
    const url = `${URLExt.join(this.settings.baseUrl, 'taskflow', 'api')}/${path}`;
    const init = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
    return ServerConnection.makeRequest(url, init, this.settings);
  }
}
