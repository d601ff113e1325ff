/** The types of taskflow/observe/static/run.js, which is copied here when the extension is built. */

export declare const MIME: string;
/** A sign for each state. */
export declare const SIGNS: Readonly<Record<string, string>>;
/** The states in which a run has ended. */
export declare const OVER: ReadonlySet<string>;
/** A number with its thousands marked. */
export declare function count(n: number): string;
/** Seconds as 0:12 or 1:02:03. */
export declare function clock(seconds: number): string;

/** A run as it stands, as far as it is looked into here. Names and messages in it are untrusted text. */
export interface Snapshot {
  v: number;
  run: string;
  name: string;
  state: string;
  at: number;
  stages: object[];
  errors: object[];
}

export interface Source {
  /** What is drawn first. */
  snapshot: Snapshot;
  /** Whether somebody answers: without, there are no buttons and no paging. */
  live: boolean;
  /** Asks for rows, logs, an error. */
  ask(query: object): Promise<object>;
  /** Does something to the run: "cancel", "retry". */
  act(verb: string): Promise<object>;
  /** Shows the cell that a run is of; whether it is there. */
  goTo?(cell: string): boolean;
}

export interface View {
  /** Takes from a snapshot that is not drawn what only a kernel tells. */
  learn(snapshot: Snapshot): void;
  update(snapshot: Snapshot, live?: boolean): void;
  dispose(): void;
}

export declare function mount(el: HTMLElement, source: Source): View;
