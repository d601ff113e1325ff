// Draws a run: the one drawing for the widget of a notebook, the output of JupyterLab and its panel.
//
// It knows a snapshot (taskflow/observe/snapshot.py) and a source that answers questions about the run
// (taskflow/observe/asking.py). Every word that comes from there is untrusted, and goes in by textContent.

/**
 * @typedef {{label: string, state: string, total: number|null, done: number, running: number, failed: number,
 *   cancelled: number, skipped: number, retried: number, cached?: number, rate: number|null, elapsed_s: number,
 *   eta_s: number|null, eta_most_s: number|null}} Stage
 * @typedef {{key: string, label: string, full: string, kind: string, note: string, sign: string, state: string,
 *   stacked: boolean, x: number, y: number, w: number, h: number}} Box
 * @typedef {{w: number, h: number, boxes: Box[], links: {points: number[][], dotted: boolean}[]}} Graph
 * @typedef {{type: string, message: string, count: number, traceback: string, items: [string, number][]}} Reason
 * @typedef {{node: string, label: string, index: number|null, state: string, worker: string|null, attempts: number,
 *   started_at: number|null, took_s: number|null, preview: string|null, error: string|null, doing?: Doing|null}} Row
 * @typedef {{share: number|null, text: string}} Doing
 * @typedef {{rows: Row[], matching: number, page: number, size: number}} Page
 * @typedef {{rows: {label: string, index: number|null, text: string}[], matching: number}} Output
 * @typedef {{v: number, run: string, name: string, state: string, store: string, created_at: number,
 *   ended_at: number|null, at: number, total: number|null, done: number, failed: number, stages: Stage[],
 *   origin?: {notebook?: string, cell?: string}, stages_left_out: number, graph: Graph|null, errors: Reason[],
 *   cells: {label: string, per_cell: number, states: string}|null, rows?: Page, output?: Output,
 *   doing?: Doing|null}} Snapshot
 * @typedef {{snapshot: Snapshot, live: boolean, ask: (query: object) => Promise<any>,
 *   act: (verb: string) => Promise<any>, goTo?: (cell: string) => boolean}} Source
 * @typedef {{update: (snapshot: Snapshot, live?: boolean) => void, learn: (snapshot: Snapshot) => void,
 *   dispose: () => void}} View
 */

export const MIME = "application/vnd.taskflow.run.v1+json";

const SVG = "http://www.w3.org/2000/svg";
export const SIGNS = {
  blocked: "◇", waiting: "~", queued: "○", running: "►", succeeded: "✓", failed: "✗", cancelled: "⊘",
  expired: "!", skipped: "»", dead: "✘",
};
export const OVER = new Set(["succeeded", "failed", "cancelled", "expired", "skipped", "dead"]);
const CODES = ["queued", "running", "succeeded", "failed", "cancelled", "waiting"];
const FILTERS = ["", "running", "queued", "waiting", "succeeded", "failed", "cancelled", "skipped"];
const COLUMNS = [
  ["Item", "index"], ["State", "state"], ["Result", ""], ["Took", "took_s"], ["Started", "started_at"],
  ["Tries", "attempts"], ["Worker", "worker"], ["", ""],
];
const ANSWER_MS = 1500;
const REFRESH_MS = 1000;
const TOLD_MS = 4000;

// ── words ───────────────────────────────────────────────────────────────────────────

export const count = (/** @type {number} */ n) => n.toLocaleString("en-US");

export function clock(/** @type {number} */ seconds) {
  const s = Math.round(seconds);
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  return s < 3600
    ? `${Math.floor(s / 60)}:${two(s % 60)}`
    : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

function duration(/** @type {number|null} */ seconds) {
  if (seconds === null) return "";
  if (seconds < 0.001) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toFixed(seconds < 0.1 ? 1 : 0)} ms`;
  return seconds < 100 ? `${seconds.toFixed(1)} s` : clock(seconds);
}

const rate = (/** @type {number} */ r) =>
  r >= 100 ? `${count(Math.round(r))}/s` : r >= 1 ? `${r.toFixed(1)}/s` : `${(r * 60).toFixed(1)}/min`;

const time = (/** @type {number} */ at) => new Date(at * 1000).toLocaleTimeString([], { hour12: false });

function eta(/** @type {Stage} */ stage) {
  if (stage.eta_s === null || OVER.has(stage.state)) return "";
  const most = stage.eta_most_s;
  return most && most > stage.eta_s * 1.25 + 1 ? `ETA ${clock(stage.eta_s)}–${clock(most)}` : `ETA ${clock(stage.eta_s)}`;
}

/** The facts of a stage, the most telling first. @returns {[string, string][]} */
function facts(/** @type {Stage} */ stage, /** @type {number} */ since) {
  const elapsed = stage.elapsed_s + (OVER.has(stage.state) ? 0 : since);
  /** @type {[string, string][]} */
  const all = [
    ["count", `${count(stage.done)} of ${stage.total === null ? "?" : count(stage.total)}`],
    ["running", stage.running ? `${count(stage.running)} running` : ""],
    ["failed", stage.failed ? `${count(stage.failed)} failed` : ""],
    ["cancelled", stage.cancelled ? `${count(stage.cancelled)} cancelled` : ""],
    ["skipped", stage.skipped ? `${count(stage.skipped)} skipped` : ""],
    ["cached", stage.cached ? `${count(stage.cached)} cached` : ""],
    ["retried", stage.retried ? `${count(stage.retried)} retried` : ""],
    ["rate", stage.rate === null ? "" : rate(stage.rate)],
    ["elapsed", elapsed ? clock(elapsed) : ""],
    ["eta", eta(stage)],
  ];
  return all.filter(([, text]) => text);
}

/** All stages as one. @returns {Stage} */
function whole(/** @type {Snapshot} */ run) {
  const sum = (/** @type {keyof Stage} */ name) =>
    run.stages.reduce((n, stage) => n + (Number(stage[name]) || 0), 0);
  const one = run.stages.length === 1 ? run.stages[0] : null;
  return {
    label: run.name, state: run.state, total: run.total, done: run.done, running: sum("running"),
    failed: run.failed, cancelled: sum("cancelled"), skipped: sum("skipped"), retried: sum("retried"),
    cached: sum("cached"), rate: one ? one.rate : null,
    elapsed_s: Math.max(0, (run.ended_at || run.at) - run.created_at),
    eta_s: one ? one.eta_s : null, eta_most_s: one ? one.eta_most_s : null,
  };
}

const itemName = (/** @type {string} */ label, /** @type {number|null} */ index) =>
  index === null ? label : `${label}[${index}]`;

/** How far an item says it is: a bar, if that can be drawn, and words. @returns {(Node|string)[]} */
const doingOf = (/** @type {Doing} */ doing) => doing.share === null ? [doing.text]
  : [h("progress", { max: "1", value: String(doing.share), "aria-label": doing.text }), ` ${doing.text}`];

const rowKey = (/** @type {Row} */ row) => `${row.node}/${row.index}`;

// ── elements ────────────────────────────────────────────────────────────────────────

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node|string)} content
 * @returns {any}
 */
function h(tag, attributes = {}, ...content) {
  return filled(document.createElement(tag), attributes, content);
}

/** @returns {any} */
function svg(/** @type {string} */ tag, attributes = {}, /** @type {(Node|string)[]} */ ...content) {
  return filled(document.createElementNS(SVG, tag), attributes, content);
}

/** @returns {any} */
function filled(/** @type {any} */ el, /** @type {Record<string, any>} */ attributes, /** @type {any[]} */ content) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) el.setAttribute(name, String(value));
  }
  el.append(...content);
  return el;
}

function say(/** @type {Element} */ el, /** @type {string} */ text) {
  if (el.textContent !== text) el.textContent = text;
}

function fold(/** @type {string} */ name, /** @type {Node} */ body, open = false) {
  const title = h("span");
  const details = h("details", { class: `tf-fold tf-${name}`, open: open ? "" : null }, h("summary", {}, title), body);
  return { details, title };
}

// ── a run ───────────────────────────────────────────────────────────────────────────

/**
 * Draw a run into an element.
 *
 * @param {HTMLElement} el
 * @param {Source} source
 * @returns {View}
 */
export function mount(el, source) {
  const view = new RunView(source);
  el.append(view.root);
  view.update(source.snapshot);
  return view;
}

class RunView {
  constructor(/** @type {Source} */ source) {
    this.source = source;
    this.run = source.snapshot;
    this.live = source.live;
    this.receivedAt = Date.now();
    this.toldAt = 0;
    /** Results in few words, which a kernel tells and a server, who opens none, does not. @type {Map<string, string>} */
    this.previews = new Map();
    this.head = new Head(this);
    this.stages = new Stages();
    this.cells = new Squares(this);
    this.graph = new GraphView(this);
    this.reasons = new Reasons(this);
    this.table = new Table(this);
    this.output = new OutputView(this);
    this.root = h("section", { class: "tf-run" }, this.head.root, this.stages.root, this.cells.root,
      this.graph.root, this.reasons.root, this.table.root, this.output.root);
    this.timer = setInterval(() => this.tick(), REFRESH_MS);
  }

  /** Seconds since the snapshot was taken. */
  get since() {
    return this.live && !OVER.has(this.run.state) ? (Date.now() - this.receivedAt) / 1000 : 0;
  }

  update(/** @type {Snapshot} */ run, live = this.source.live) {
    const other = run.run !== this.run.run;
    this.run = run;
    this.live = live;
    this.receivedAt = Date.now();
    this.root.dataset.state = run.state;
    this.root.setAttribute("aria-label", `run ${run.name}`);
    if (other) {
      this.previews.clear();
      this.table.reset();
    }
    this.learn(run);
    for (const part of [this.head, this.stages, this.cells, this.graph, this.reasons, this.table, this.output]) {
      part.draw(run, live, this.since);
    }
  }

  /** Take from a snapshot that is not drawn what only a kernel tells. */
  learn(/** @type {Snapshot} */ run) {
    const known = this.previews.size;
    for (const row of run.rows ? run.rows.rows : []) {
      if (row.preview !== null) this.previews.set(rowKey(row), row.preview);
    }
    if (this.previews.size > known) this.table.take(this.table.page);
  }

  tick() {
    if (this.since) {
      this.head.draw(this.run, this.live, this.since);
      this.stages.draw(this.run, this.live, this.since);
    }
    this.table.refresh();
    this.output.refresh();
  }

  dispose() {
    clearInterval(this.timer);
    this.cells.dispose();
    this.root.remove();
  }
}

class Head {
  constructor(/** @type {RunView} */ view) {
    this.view = view;
    this.toldAt = 0;
    this.sign = h("span", { class: "tf-sign", "aria-hidden": "true" });
    this.name = h("b", { class: "tf-name" });
    this.bar = bar();
    this.facts = h("span", { class: "tf-facts" });
    this.spoken = h("span", { class: "tf-spoken", role: "status" });
    this.note = h("span", { class: "tf-note", role: "status" });
    this.cancel = h("button", { type: "button", class: "tf-button", onclick: () => this.act("cancel") }, "■ Cancel");
    this.retry = h("button", { type: "button", class: "tf-button", onclick: () => this.act("retry") });
    this.cell = h("button", { type: "button", class: "tf-button", onclick: () => this.goTo() }, "Go to its cell");
    this.root = h("header", { class: "tf-head" }, this.sign, this.name, this.bar, this.facts, this.note,
      this.cancel, this.retry, this.cell, this.spoken);
  }

  draw(/** @type {Snapshot} */ run, /** @type {boolean} */ live, /** @type {number} */ since) {
    const all = whole(run), over = OVER.has(run.state);
    say(this.sign, SIGNS[/** @type {keyof SIGNS} */ (run.state)] || "");
    say(this.name, run.name);
    const notebook = run.origin && run.origin.notebook ? ` of ${run.origin.notebook}` : "";
    this.name.title = `run ${run.run}${notebook}, in ${run.store}`;
    const doing = run.doing && !over ? run.doing : null;
    drawBar(this.bar, all, doing);
    /** @type {[string, string][]} */
    const told = doing ? [["doing", doing.text]] : [];
    drawFacts(this.facts, [...facts(all, since), ...told]);
    this.cancel.hidden = !live || over;
    const left = all.failed + all.cancelled + all.skipped;
    this.retry.hidden = !live || !over || !left;
    say(this.retry, all.failed ? `↻ Retry ${count(all.failed)} failed` : `↻ Run the ${count(left)} left`);
    if (!this.note.dataset.told) say(this.note, live ? "" : `as it stood at ${time(run.at)}`);
    this.cell.hidden = !this.view.source.goTo || !(run.origin && run.origin.cell);
    if (over || Date.now() - this.toldAt > TOLD_MS) {
      this.toldAt = Date.now();
      say(this.spoken, `${run.name} ${run.state}: ${facts(all, since).slice(0, 3).map((f) => f[1]).join(", ")}`);
    }
  }

  goTo() {
    const { goTo } = this.view.source, { cell = "", notebook = "its notebook" } = this.view.run.origin || {};
    this.note.dataset.told = "yes";
    say(this.note, goTo && goTo(cell) ? "" : `${notebook} is not open`);
  }

  async act(/** @type {string} */ verb) {
    this.note.dataset.told = "yes";
    say(this.note, verb === "cancel" ? "cancelling…" : "starting again…");
    try {
      const done = await this.view.source.act(verb);
      say(this.note, verb === "cancel" ? (done.changed ? "" : "it had ended") : done.run ? "" : "nothing to run again");
    } catch (error) {
      say(this.note, words(error));
    }
  }
}

function words(/** @type {any} */ error) {
  return error && error.message ? String(error.message) : String(error);
}

const PARTS = ["succeeded", "failed", "cancelled", "running"];

/** A bar whose parts tell how what has ended has ended. @returns {any} */
function bar() {
  return h("span", { class: "tf-bar", role: "progressbar", "aria-valuemin": 0 },
    ...PARTS.map((name) => h("span", { class: `tf-part tf-part-${name}` })));
}

/** `doing`: how far the one item that runs says it is. */
function drawBar(/** @type {any} */ bar, /** @type {Stage} */ stage, /** @type {Doing|null} */ doing = null) {
  const over = OVER.has(stage.state), unknown = stage.total === null && !over;
  const total = Math.max(1, stage.total || 0, stage.done + stage.running);
  const lost = stage.failed + stage.cancelled + stage.skipped;
  const empty = over && !stage.total ? 1 : 0;
  const parts = [stage.done - lost + empty, stage.failed, stage.cancelled + stage.skipped,
    doing && doing.share !== null && stage.running === 1 ? doing.share : stage.running];
  parts.forEach((n, i) => { bar.children[i].style.width = `${(100 * n) / total}%`; });
  bar.dataset.unknown = String(unknown);
  bar.dataset.state = stage.state;
  bar.setAttribute("aria-valuemax", String(total));
  if (unknown) bar.removeAttribute("aria-valuenow");
  else bar.setAttribute("aria-valuenow", String(stage.done + empty));
  bar.setAttribute("aria-label", stage.label);
  bar.setAttribute("aria-valuetext", `${count(stage.done)} of ${stage.total === null ? "?" : count(stage.total)} done`);
}

function drawFacts(/** @type {any} */ place, /** @type {[string, string][]} */ told) {
  if (place.children.length !== told.length) {
    place.replaceChildren(...told.map(() => h("span")));
  }
  told.forEach(([name, text], i) => {
    place.children[i].className = `tf-fact tf-fact-${name}`;
    say(place.children[i], text);
  });
}

// ── its stages ──────────────────────────────────────────────────────────────────────

class Stages {
  constructor() {
    this.root = h("div", { class: "tf-stages", role: "list" });
  }

  draw(/** @type {Snapshot} */ run, /** @type {boolean} */ _live, /** @type {number} */ since) {
    this.root.hidden = run.stages.length < 2;
    if (this.root.hidden) return;
    const rest = run.stages_left_out ? 1 : 0;
    if (this.root.children.length !== run.stages.length + rest) {
      this.root.replaceChildren(...run.stages.map(() =>
        h("div", { class: "tf-stage", role: "listitem" }, h("span", { class: "tf-sign", "aria-hidden": "true" }),
          h("span", { class: "tf-label" }), bar(), h("span", { class: "tf-facts" }))));
      if (rest) this.root.append(h("div", { class: "tf-rest" }, `… ${count(run.stages_left_out)} more`));
    }
    run.stages.forEach((stage, i) => {
      const [sign, label, bar, told] = this.root.children[i].children;
      this.root.children[i].dataset.state = stage.state;
      say(sign, SIGNS[/** @type {keyof SIGNS} */ (stage.state)] || "");
      say(label, stage.label);
      label.title = stage.label;
      drawBar(bar, stage);
      drawFacts(told, facts(stage, since));
    });
  }
}

// ── a square for each item ──────────────────────────────────────────────────────────

class Squares {
  constructor(/** @type {RunView} */ view) {
    this.view = view;
    /** @type {Uint8Array} */
    this.states = new Uint8Array();
    this.painted = "";
    this.canvas = h("canvas", {
      class: "tf-cells", role: "img", onmousemove: (/** @type {any} */ e) => this.point(e),
      onclick: (/** @type {any} */ e) => this.open(e),
    });
    this.root = h("div", { class: "tf-cells-room", hidden: "" }, this.canvas);
    this.watcher = new MutationObserver(() => { this.painted = ""; this.draw(this.view.run); });
    this.watcher.observe(document.body, { attributes: true });
  }

  draw(/** @type {Snapshot} */ run) {
    const cells = run.cells;
    this.root.hidden = !cells;
    if (!cells || cells.states === this.painted) return;
    this.painted = this.view.root.isConnected ? cells.states : ""; // elsewhere it has no colours yet
    this.states = Uint8Array.from(atob(cells.states), (c) => c.charCodeAt(0));
    const n = this.states.length;
    this.side = n <= 200 ? 12 : n <= 800 ? 9 : 6;
    this.columns = Math.min(n, Math.floor(720 / this.side));
    const rows = Math.ceil(n / this.columns), sharp = window.devicePixelRatio || 1;
    this.canvas.width = this.columns * this.side * sharp;
    this.canvas.height = rows * this.side * sharp;
    this.canvas.style.width = `${this.columns * this.side}px`;
    this.paint(sharp);
    const counts = CODES.map((name, code) => [name, this.states.reduce((m, s) => m + (s === code ? 1 : 0), 0)]);
    const told = counts.filter((c) => c[1]).map(([name, m]) => `${count(Number(m))} ${name}`).join(", ");
    const each = cells.per_cell > 1 ? ` of ${count(cells.per_cell)} items each` : "";
    this.canvas.setAttribute("aria-label", `${cells.label}: ${count(n)} squares${each}: ${told}`);
  }

  paint(/** @type {number} */ sharp) {
    const pen = this.canvas.getContext("2d");
    if (!pen) return;
    const style = getComputedStyle(this.view.root.isConnected ? this.view.root : document.body);
    const colours = CODES.map((name) => style.getPropertyValue(`--tf-${name}`) || "#888");
    const side = /** @type {number} */ (this.side), columns = /** @type {number} */ (this.columns);
    pen.scale(sharp, sharp);
    this.states.forEach((code, i) => {
      pen.fillStyle = colours[code] || colours[0];
      pen.fillRect((i % columns) * side, Math.floor(i / columns) * side, side - 1, side - 1);
    });
  }

  /** The square under the mouse. @returns {number} */
  at(/** @type {any} */ event) {
    const side = (this.side || 1) * (this.canvas.clientWidth / ((this.columns || 1) * (this.side || 1)));
    return Math.floor(event.offsetY / side) * (this.columns || 1) + Math.floor(event.offsetX / side);
  }

  point(/** @type {any} */ event) {
    const cell = this.at(event), per = this.view.run.cells ? this.view.run.cells.per_cell : 1;
    if (cell >= this.states.length) return;
    const last = (cell + 1) * per - 1;
    const which = per > 1 ? `items ${count(cell * per)} to ${count(last)}` : `item ${count(cell)}`;
    this.canvas.title = `${which}: ${CODES[this.states[cell]]}`;
  }

  open(/** @type {any} */ event) {
    const cell = this.at(event), cells = this.view.run.cells;
    if (cells && cell < this.states.length) this.view.table.show({ label: cells.label, at: cell * cells.per_cell });
  }

  dispose() {
    this.watcher.disconnect();
  }
}

// ── its graph ───────────────────────────────────────────────────────────────────────

class GraphView {
  constructor(/** @type {RunView} */ view) {
    this.view = view;
    this.places = "";
    this.room = h("div", { class: "tf-graph-room" });
    const { details, title } = fold("graph", this.room, true);
    this.title = title;
    this.root = details;
  }

  draw(/** @type {Snapshot} */ run) {
    const graph = run.graph;
    this.root.hidden = !graph;
    if (!graph) return;
    say(this.title, "Graph");
    const places = JSON.stringify([graph.boxes.map((b) => [b.key, b.x, b.y, b.w]), graph.links.length]);
    if (places !== this.places) {
      this.places = places;
      this.room.replaceChildren(this.picture(graph));
    }
    graph.boxes.forEach((box, i) => this.fill(this.boxes[i], box));
    const told = graph.boxes.map((box) => `${box.full} ${box.state}`).slice(0, 20).join(", ");
    this.svg.setAttribute("aria-label", `graph of ${count(graph.boxes.length)} steps: ${told}`);
  }

  picture(/** @type {Graph} */ graph) {
    this.boxes = graph.boxes.map((box) => this.box(box));
    const place = svg("g", { transform: "translate(8 8)" }, ...graph.links.map(link), ...this.boxes);
    this.svg = svg("svg", {
      class: "tf-graph", role: "group", width: graph.w, height: graph.h, viewBox: `0 0 ${graph.w} ${graph.h}`,
    }, place);
    return this.svg;
  }

  box(/** @type {Box} */ box) {
    const shape = (/** @type {number} */ d) => svg("rect", {
      class: "tf-box", x: d, y: d, width: box.w, height: box.h, rx: box.kind === "input" ? box.h / 2 : 6,
    });
    const open = () => this.view.table.show({ label: box.full });
    return svg("g", {
      class: "tf-step", transform: `translate(${box.x} ${box.y})`, tabindex: "0", role: "button", onclick: open,
      onkeydown: (/** @type {any} */ e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); open(); } },
    }, svg("title"), ...(box.stacked ? [shape(4)] : []), shape(0),
      svg("text", { class: "tf-box-label", x: box.w / 2, y: 18 }),
      svg("text", { class: "tf-box-note", x: box.w / 2, y: 33 }));
  }

  fill(/** @type {any} */ group, /** @type {Box} */ box) {
    group.dataset.state = box.state;
    group.setAttribute("aria-label", `${box.full}: ${box.note}`);
    say(group.querySelector("title"), `${box.full}: ${box.note}`);
    say(group.querySelector(".tf-box-label"), `${box.sign} ${box.label}`);
    say(group.querySelector(".tf-box-note"), box.note);
  }
}

function link(/** @type {{points: number[][], dotted: boolean}} */ { points, dotted }) {
  const tip = points[points.length - 1], down = tip[1] > points[0][1];
  const end = [tip[0], tip[1] + (down ? -5 : 5)], base = end[1] + (down ? 1 : -1);
  let path = `M${points[0][0]} ${points[0][1]}`;
  [...points.slice(1, -1), end].forEach((to, i) => {
    const from = points[i], middle = (from[1] + to[1]) / 2;
    path += Math.abs(from[0] - to[0]) < 0.5
      ? `L${to[0]} ${to[1]}` : `C${from[0]} ${middle} ${to[0]} ${middle} ${to[0]} ${to[1]}`;
  });
  return svg("g", { class: "tf-link" },
    svg("path", { d: path, fill: "none", "stroke-dasharray": dotted ? "2 4" : null }),
    svg("path", { class: "tf-tip", d: `M${tip[0]} ${tip[1]}L${tip[0] - 3.5} ${base}L${tip[0] + 3.5} ${base}Z` }));
}

// ── why things failed ───────────────────────────────────────────────────────────────

class Reasons {
  constructor(/** @type {RunView} */ view) {
    this.view = view;
    this.drawn = "";
    this.list = h("div");
    const { details, title } = fold("reasons", this.list, true);
    this.title = title;
    this.root = details;
  }

  draw(/** @type {Snapshot} */ run) {
    const drawn = JSON.stringify(run.errors);
    this.root.hidden = !run.errors.length;
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const causes = run.errors.length === 1 ? "1 cause" : `${run.errors.length} causes`;
    say(this.title, `${count(run.failed)} failed, ${causes}`);
    const open = new Set([...this.list.querySelectorAll("details[open]")].map((d) => d.dataset.cause));
    this.list.replaceChildren(...run.errors.map((reason) => this.reason(reason, open)));
  }

  reason(/** @type {Reason} */ reason, /** @type {Set<string>} */ open) {
    const cause = `${reason.type}: ${reason.message}`;
    const some = reason.items.map(([label, index]) => itemName(label, index)).join(", ");
    const more = reason.count > reason.items.length ? ` and ${count(reason.count - reason.items.length)} more` : "";
    return h("details", { class: "tf-reason", "data-cause": cause, open: open.has(cause) ? "" : null },
      h("summary", {}, h("b", {}, `${count(reason.count)} ×`), ` ${cause}`),
      h("p", { class: "tf-where" }, `${some}${more} `,
        h("button", { type: "button", class: "tf-button", onclick: () => this.view.table.show({ state: "failed" }) },
          "Show the rows")),
      h("pre", { class: "tf-text", tabindex: "0" }, reason.traceback));
  }
}

// ── the table ───────────────────────────────────────────────────────────────────────

class Table {
  constructor(/** @type {RunView} */ view) {
    this.view = view;
    /** @type {{state: string, label: string, sort: string, down: boolean, page: number, size: number}} */
    this.query = { state: "", label: "", sort: "index", down: false, page: 0, size: 50 };
    /** @type {Page|null} */
    this.page = null;
    this.asked = 0;
    this.stale = true;
    this.open = new Set();
    this.filter = h("select", { class: "tf-filter", onchange: () => this.set({ state: this.filter.value, page: 0 }) },
      ...FILTERS.map((name) => h("option", { value: name }, name || "all states")));
    this.label = h("button", { type: "button", class: "tf-button", onclick: () => this.set({ label: "", page: 0 }) });
    this.first = this.pager("«", "first page", () => 0);
    this.before = this.pager("‹", "page before", () => this.query.page - 1);
    this.after = this.pager("›", "next page", () => this.query.page + 1);
    this.last = this.pager("»", "last page", () => this.lastPage());
    this.where = h("span", { class: "tf-where", role: "status" });
    this.heads = COLUMNS.map(([title, sort]) => h("th", { scope: "col" }, sort
      ? h("button", { type: "button", class: "tf-sort", onclick: () => this.sortBy(sort) }, title) : title));
    this.heads[this.heads.length - 1].append(h("span", { class: "tf-spoken" }, "details"));
    this.body = h("tbody");
    this.tools = h("div", { class: "tf-tools" }, h("label", {}, "Show ", this.filter), this.label, this.first,
      this.before, this.where, this.after, this.last);
    const table = h("table", { class: "tf-table" }, h("thead", {}, h("tr", {}, ...this.heads)), this.body);
    const { details, title } = fold("rows", h("div", {}, this.tools, h("div", { class: "tf-scroll" }, table)));
    this.root = details;
    this.title = title;
    details.addEventListener("toggle", () => { this.stale = true; this.refresh(); });
  }

  pager(/** @type {string} */ text, /** @type {string} */ told, /** @type {() => number} */ to) {
    return h("button", { type: "button", class: "tf-button", "aria-label": told, title: told,
      onclick: () => this.set({ page: to() }) }, text);
  }

  lastPage() {
    return this.page ? Math.max(0, Math.ceil(this.page.matching / this.query.size) - 1) : 0;
  }

  reset() {
    this.query = { ...this.query, state: "", label: "", sort: "index", down: false, page: 0 };
    this.page = null;
    this.open.clear();
  }

  /** Show the rows of a step, of a state, or from an item on. */
  show(/** @type {{state?: string, label?: string, at?: number}} */ { state = "", label = "", at = 0 }) {
    this.query.sort = "index";
    this.query.down = false;
    this.set({ state, label, page: Math.floor(at / this.query.size) });
    this.root.open = true;
    this.root.scrollIntoView({ block: "nearest" });
  }

  sortBy(/** @type {string} */ sort) {
    this.set({ sort, down: this.query.sort === sort ? !this.query.down : sort === "took_s", page: 0 });
  }

  set(/** @type {Partial<typeof this.query>} */ change) {
    this.query = { ...this.query, ...change };
    this.stale = true;
    this.refresh();
  }

  draw(/** @type {Snapshot} */ run, /** @type {boolean} */ live) {
    say(this.title, "Results");
    this.tools.hidden = !live;
    this.stale = true;
    if (!live || !this.page || (this.isBusy() && this.isPlain())) this.take(run.rows || null);
  }

  /** Ask again when something has happened since, and somebody looks. */
  async refresh() {
    this.head();
    if (!this.view.live || !this.root.open || !this.stale || this.asked) return;
    this.stale = false;
    const asked = JSON.stringify(this.query);
    this.asked = Date.now();
    const slow = setTimeout(() => this.busy(), ANSWER_MS);
    try {
      const page = await this.view.source.ask({ what: "rows", ...this.query });
      this.asked = 0;
      if (asked === JSON.stringify(this.query)) this.take(page);
      else this.refresh();
    } catch (error) {
      this.asked = 0;
      say(this.where, words(error));
    } finally {
      clearTimeout(slow);
    }
  }

  /** Whether the one who was asked is busy: while a cell runs, a kernel answers nothing. */
  isBusy() {
    return this.asked > 0 && Date.now() - this.asked > ANSWER_MS;
  }

  /** Whether what is asked for is what each snapshot brings along. */
  isPlain() {
    const { state, label, sort, down, page } = this.query;
    return !state && !label && sort === "index" && !down && !page;
  }

  busy() {
    if (this.asked) say(this.where, "the kernel is busy and answers when the cell has ended");
    if (this.isPlain() && this.view.run.rows) this.take(this.view.run.rows);
  }

  take(/** @type {Page|null} */ page) {
    this.page = page;
    this.head();
    if (!page) return;
    const kept = document.activeElement && this.body.contains(document.activeElement);
    const focus = kept ? /** @type {any} */ (document.activeElement).dataset.row : null;
    this.body.replaceChildren(...page.rows.flatMap((row) => this.row(row)));
    if (!page.rows.length) {
      this.body.append(h("tr", {}, h("td", { colspan: COLUMNS.length, class: "tf-none" }, "There are none.")));
    }
    if (focus) this.body.querySelector(`[data-row="${CSS.escape(focus)}"]`)?.focus();
    const from = page.page * page.size;
    say(this.where, page.matching ? `${count(from + 1)}–${count(from + page.rows.length)} of ${count(page.matching)}` : "none");
    if (!this.view.live && page.matching > page.rows.length) {
      this.body.append(h("tr", {}, h("td", { colspan: COLUMNS.length, class: "tf-none" },
        `… ${count(page.matching - page.rows.length)} more are in the store, not in this page.`)));
    }
  }

  head() {
    this.filter.value = this.query.state;
    this.label.hidden = !this.query.label;
    say(this.label, `only ${this.query.label} ✕`);
    this.first.disabled = this.before.disabled = this.query.page <= 0;
    this.after.disabled = this.last.disabled = this.query.page >= this.lastPage();
    this.heads.forEach((head, i) => {
      const [title, sort] = COLUMNS[i], on = sort && sort === this.query.sort;
      if (!sort) return;
      head.setAttribute("aria-sort", on ? (this.query.down ? "descending" : "ascending") : "none");
      say(head.firstChild, on ? `${title} ${this.query.down ? "▾" : "▴"}` : title);
    });
  }

  /** @returns {HTMLElement[]} */
  row(/** @type {Row} */ row) {
    const name = itemName(row.label, row.index), key = rowKey(row);
    const preview = row.preview ?? this.view.previews.get(key) ?? "";
    const open = this.open.has(key) && this.view.live;
    const more = h("button", { type: "button", class: "tf-more", "aria-expanded": String(open), "data-row": key,
      "aria-label": `details of ${name}`, onclick: () => this.toggle(key, row) }, open ? "▾" : "▸");
    const told = row.error ? h("td", { class: "tf-error", title: row.error }, row.error)
      : row.doing ? h("td", { class: "tf-value", title: row.doing.text }, ...doingOf(row.doing))
      : h("td", { class: "tf-value", title: preview }, preview);
    const drawn = h("tr", { "data-state": row.state },
      h("th", { scope: "row" }, name),
      h("td", { class: "tf-state" }, `${SIGNS[/** @type {keyof SIGNS} */ (row.state)] || ""} ${row.state}`),
      told,
      h("td", { class: "tf-number" }, duration(row.took_s)),
      h("td", { class: "tf-number" }, row.started_at ? time(row.started_at) : ""),
      h("td", { class: "tf-number" }, row.attempts ? String(row.attempts) : ""),
      h("td", {}, row.worker || ""),
      h("td", {}, this.view.live ? more : ""));
    return open ? [drawn, this.details(row)] : [drawn];
  }

  toggle(/** @type {string} */ key, /** @type {Row} */ _row) {
    if (!this.open.delete(key)) this.open.add(key);
    this.take(this.page);
  }

  details(/** @type {Row} */ row) {
    const text = h("pre", { class: "tf-text", tabindex: "0" }, "…");
    const place = { node: row.node, label: row.label, index: row.index || 0 };
    const asked = row.error ? this.view.source.ask({ what: "error", ...place }) : Promise.resolve(null);
    Promise.all([asked, this.view.source.ask({ what: "log", ...place })]).then(
      ([error, log]) => say(text, [error && (error.traceback || `${error.type}: ${error.message}`), log.text,
        !error && row.preview].filter(Boolean).join("\n") || "It has printed nothing."),
      (error) => say(text, words(error)));
    return h("tr", { class: "tf-detail" }, h("td", { colspan: COLUMNS.length }, text));
  }
}

// ── what tasks have printed ─────────────────────────────────────────────────────────

class OutputView {
  constructor(/** @type {RunView} */ view) {
    this.view = view;
    this.asked = false;
    this.stale = true;
    this.drawn = "";
    this.list = h("div");
    const { details, title } = fold("output", this.list);
    this.title = title;
    this.root = details;
    details.addEventListener("toggle", () => { this.stale = true; this.refresh(); });
  }

  draw(/** @type {Snapshot} */ run, /** @type {boolean} */ live) {
    say(this.title, run.output ? `Output of ${count(run.output.matching)} tasks` : "Output");
    this.root.hidden = run.output ? !run.output.matching : !live;
    this.stale = true;
    if (run.output && (!live || !this.root.open)) this.take(run.output);
  }

  async refresh() {
    if (!this.view.live || !this.root.open || !this.stale || this.asked) return;
    this.stale = false;
    this.asked = true;
    try {
      this.take(await this.view.source.ask({ what: "logs" }));
    } catch (error) {
      this.list.replaceChildren(h("p", { class: "tf-none" }, words(error)));
    }
    this.asked = false;
  }

  take(/** @type {Output} */ output) {
    const drawn = JSON.stringify(output.rows);
    if (drawn === this.drawn && this.list.children.length) return;
    this.drawn = drawn;
    const shut = new Set([...this.list.querySelectorAll("details:not([open])")].map((d) => d.dataset.task));
    this.list.replaceChildren(...output.rows.map(({ label, index, text }) => {
      const name = itemName(label, index), lines = text.trimEnd().split("\n");
      const open = lines.length > 1 && lines.length <= 3 && !shut.has(name);
      return h("details", { class: "tf-task", "data-task": name, open: open ? "" : null },
        h("summary", {}, name, h("span", { class: "tf-fact" }, ` ${lines[lines.length - 1].slice(0, 80)}`)),
        h("pre", { class: "tf-text", tabindex: "0" }, text));
    }));
    const more = output.matching - output.rows.length;
    if (!output.rows.length) this.list.append(h("p", { class: "tf-none" }, "Nothing was printed so far."));
    if (more > 0) this.list.append(h("p", { class: "tf-none" }, `… ${count(more)} more have printed something.`));
  }
}

// ── as a widget ─────────────────────────────────────────────────────────────────────

/** Questions go through the comm of a widget, and are answered when the kernel is free. */
class Comm {
  constructor(/** @type {any} */ model) {
    this.model = model;
    this.number = 0;
    /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
    this.waiting = new Map();
    this.heard = (/** @type {any} */ message) => {
      const waits = this.waiting.get(message.number);
      if (!waits) return;
      this.waiting.delete(message.number);
      if (message.error) waits.reject(new Error(message.error));
      else waits.resolve(message.answer);
    };
    model.on("msg:custom", this.heard);
  }

  /** @returns {Promise<any>} */
  send(/** @type {object} */ message) {
    return new Promise((resolve, reject) => {
      this.waiting.set(++this.number, { resolve, reject });
      this.model.send({ number: this.number, ...message });
    });
  }
}

export default {
  render(/** @type {{model: any, el: HTMLElement}} */ { model, el }) {
    const comm = new Comm(model);
    const view = mount(el, {
      snapshot: model.get("snapshot"),
      live: true,
      ask: (query) => comm.send({ ask: query }),
      act: (verb) => comm.send({ act: verb }),
    });
    const changed = () => view.update(model.get("snapshot"));
    model.on("change:snapshot", changed);
    return () => {
      model.off("change:snapshot", changed);
      model.off("msg:custom", comm.heard);
      view.dispose();
    };
  },
};
